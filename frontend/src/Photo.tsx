import {useEffect, useRef, useState} from 'react';
import {LARGEST} from '@assets/answers.js';
import {createDrop} from '@assets/upload.js';
import type {Item} from './App';

interface Props {
  rows: Item[][];  // what was read in it
  chosen: Item | null;
  problem: string;
  onImage: (bytes: ArrayBuffer | null) => void;  // null: the file is too large
  onChoose: (digit: Item) => void;
}

export function Photo({rows, chosen, problem, onImage, onChoose}: Props) {
  const place = useRef<HTMLDivElement>(null);
  const latest = useRef(onImage);
  const [address, setAddress] = useState('');
  const [size, setSize] = useState([1, 1]);
  useEffect(() => { latest.current = onImage; });
  useEffect(() => {
    const drop = createDrop(place.current!, {
      limit: LARGEST,
      what: 'PNG, JPEG, WEBP and others',
      several: false,
      camera: 'Take a photo',
      onFile: (_, bytes, first) => {
        if (!first) return;
        setAddress(bytes ? URL.createObjectURL(new Blob([bytes])) : '');
        latest.current(bytes);
      },
    });
    return () => drop.root.remove();
  }, []);
  useEffect(() => () => URL.revokeObjectURL(address), [address]);

  const [width, height] = size as [number, number];
  const inImage = ([x, y, w, h]: number[]) => ({
    left: `${100*x!/width}%`,
    top: `${100*y!/height}%`,
    width: `${100*w!/width}%`,
    height: `${100*h!/height}%`,
  });
  const digits = rows.flat();
  return <>
    <div ref={place} />
    <p className="warning" role="status">{problem}</p>
    {address && <div className="photo">
      <img src={address} alt="What you gave to read"
        onLoad={event => setSize([event.currentTarget.naturalWidth, event.currentTarget.naturalHeight])}
        onError={() => setAddress('')} />
      {digits.map((digit, i) => digit.box &&
        <i key={i} className={digit === chosen ? 'box chosen' : 'box'} style={inImage(digit.box)} />)}
    </div>}
    {digits.length > 1 && <p>Choose a digit to see how it was read:</p>}
    {rows.map((row, y) => <div className="row" key={y}>
      {row.map((digit, x) =>
        <button type="button" key={x} aria-pressed={digit === chosen} onClick={() => onChoose(digit)}>
          {digit.corrected ?? digit.digit}
        </button>)}
    </div>)}
  </>;
}
