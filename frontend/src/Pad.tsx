import {useEffect, useRef} from 'react';
import {createPad} from '@assets/pad.js';
import type {Pad as Drawing} from '@assets/pad.js';

interface Props {
  onChange: (pad: Drawing, finished: boolean) => void;  // with each stroke, and while it's drawn
}

export function Pad({onChange}: Props) {
  const place = useRef<HTMLDivElement>(null);
  const latest = useRef(onChange);
  useEffect(() => { latest.current = onChange; });
  useEffect(() => {
    const pad = createPad(place.current!, {
      pace: 60,
      onChange: (_, finished) => latest.current(pad, finished),
    });
    return () => pad.root.remove();
  }, []);
  return <div id="pad" ref={place} />;
}
