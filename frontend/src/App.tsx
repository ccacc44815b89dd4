import {useEffect, useMemo, useRef, useState} from 'react';
import {inWords, TOO_LARGE} from '@assets/answers.js';
import type {Answer as Read, Failure} from '@assets/engines.js';
import type {Pad as Drawing} from '@assets/pad.js';
import {remarks} from '@assets/settings.js';
import {Answer} from './Answer';
import {Kept, useKept} from './Kept';
import {Pad} from './Pad';
import {Photo} from './Photo';
import {oneAtATime, useEngine} from './reader';
import type {Choice} from './reader';

export type Item = Read & {corrected?: number};  // a digit that was read, and what it is

const NAMES: Record<Choice, string> = {server: 'the server', browser: 'this browser'};

export function App() {
  const {choice, choose, notice, ask} = useEngine();
  const {keep, ...collection} = useKept();
  const [answer, setAnswer] = useState<Item | null>(null);  // the one that can be corrected
  const [rows, setRows] = useState<Item[][]>([]);  // of the photo
  const [problem, setProblem] = useState('');  // with the drawing
  const [photoProblem, setPhotoProblem] = useState('');
  const [said, setSaid] = useState('');  // to a screen reader, at the end of a stroke
  const pad = useRef<Drawing>(null);
  const finished = useRef(true);
  const photos = useRef(0);
  const ofDrawing = useRef<Item>(null);  // comes back when the photo's answers go

  function showDrawing(next: Item | null) {
    ofDrawing.current = next;
    setAnswer(next);
  }

  async function readDrawing() {
    const drawing = pad.current;
    const drawn = drawing?.strokes().length;
    try {
      const next = drawn ? await ask(engine => engine.read(drawing!)) : null;
      showDrawing(next);
      setProblem('');
      if (finished.current) setSaid(inWords(next));
    } catch (error) {
      showDrawing(null);
      setProblem((error as Failure).message);
    }
  }
  const latest = useRef(readDrawing);
  useEffect(() => { latest.current = readDrawing; });
  const read = useMemo(() => oneAtATime(() => latest.current()), []);

  async function readPhoto(bytes: ArrayBuffer | null) {
    const mine = ++photos.current;
    setRows([]);
    if (ofPhoto) setAnswer(ofDrawing.current);
    setPhotoProblem(bytes ? 'reading …' : TOO_LARGE);
    if (!bytes) return;
    let found: Item[][] = [];
    let trouble = '';
    try {
      found = await ask(engine => engine.readImage(bytes));
      if (!found.length) trouble = remarks.nothing;
    } catch (error) {
      trouble = (error as Failure).message;
    }
    if (mine !== photos.current) return;  // another photo has come since
    setRows(found);
    setPhotoProblem(trouble);
    if (found.length) choosePhotoDigit(found[0]![0]!);
  }

  function choosePhotoDigit(digit: Item) {
    setAnswer(digit);
    setSaid(inWords(digit));
  }

  const ofPhoto = answer !== null && rows.flat().includes(answer);

  function correct(digit: number, png: string) {
    keep(png, digit);
    if (!ofPhoto) {
      pad.current?.clear();
      return;
    }
    const corrected = {...answer!, corrected: digit};
    setRows(rows.map(row => row.map(other => other === answer ? corrected : other)));
    setAnswer(corrected);
  }

  return <>
    <header>
      <h1>Draw, photograph, correct</h1>
      <fieldset>
        <legend>Read by</legend>
        {(['server', 'browser'] as const).map(name => <label key={name}>
          <input type="radio" name="engine" checked={choice === name}
            onChange={() => {
              choose(name);
              if (pad.current?.strokes().length) void read();
            }} />
          {NAMES[name]}
        </label>)}
      </fieldset>
    </header>
    <main className={ofPhoto ? 'of-photo' : ''}>
      <div className="column">
        <section aria-labelledby="draw">
          <h2 id="draw">Draw a digit</h2>
          <Pad onChange={(drawing, done) => {
            pad.current = drawing;
            finished.current = done;
            void read();
          }} />
        </section>
        <section aria-labelledby="photo">
          <h2 id="photo">Photograph digits</h2>
          <Photo rows={rows} chosen={answer} problem={photoProblem}
            onImage={bytes => void readPhoto(bytes)} onChoose={choosePhotoDigit} />
        </section>
      </div>
      <div className="column">
        <section aria-labelledby="read">
          <h2 id="read">What was read</h2>
          <Answer answer={answer} onCorrect={correct} />
          <p className="warning" role="status">{problem || notice}</p>
          <p className="hidden" role="status">{said}</p>
        </section>
        <section aria-labelledby="kept">
          <h2 id="kept">Corrected digits</h2>
          <Kept {...collection} />
        </section>
      </div>
    </main>
  </>;
}
