import {useEffect, useRef} from 'react';
import {isFound, NOTHING, percent} from '@assets/answers.js';
import type {Item} from './App';

function paint(canvas: HTMLCanvasElement, pixels: Uint8Array) {  // as they are: ink 255 on 0
  const image = new ImageData(28, 28);
  pixels.forEach((ink, i) => image.data.set([ink, ink, ink, 255], 4*i));
  canvas.getContext('2d')!.putImageData(image, 0, 0);
}

interface Props {
  answer: Item | null;
  onCorrect: (digit: number, png: string) => void;  // png: what the network saw, as a data URL
}

export function Answer({answer: read, onCorrect}: Props) {
  const answer = isFound(read) ? read : null;
  const nothing = read ? NOTHING : 'Draw or photograph a digit.';
  const seen = useRef<HTMLCanvasElement>(null);
  useEffect(() => paint(seen.current!, answer?.pixels ?? new Uint8Array(784)), [answer]);
  const right = answer?.corrected ?? answer?.digit;
  return <>
    <div className="answer">
      <output>{answer ? answer.digit : '?'}</output>
      <canvas ref={seen} width="28" height="28" role="img" aria-label="What the network sees" />
      <div>
        <p>{answer ? `${percent(answer.confidence)} confident` : nothing}</p>
        <p className="warning">{answer?.warning}</p>
      </div>
    </div>
    <p id="question">Wrong? Choose the correct digit. The bars show how likely the network thinks each one is.</p>
    <div className="digits" role="group" aria-labelledby="question">
      {[...Array(10).keys()].map(digit =>
        <button type="button" key={digit} disabled={!answer} aria-pressed={digit === right}
          onClick={() => onCorrect(digit, seen.current!.toDataURL())}>
          <span className="bar" style={{transform: `scaleY(${answer?.probs[digit] ?? 0})`}} />
          {digit}
        </button>)}
    </div>
  </>;
}
