// The corrected digits: kept in this browser, downloaded as files that the library's `load_images` reads.
import {useEffect, useState} from 'react';
import {zipSync} from 'fflate';

const KEY = 'mnist_course.corrected';

interface Corrected {
  png: string;  // a data URL: 28 by 28, ink white on black
  digit: number;
}

function stored(): Corrected[] {
  try {
    const found = JSON.parse(localStorage.getItem(KEY) ?? '[]');
    return Array.isArray(found) ? found : [];
  } catch {  // a browser may be set to store nothing
    return [];
  }
}

export function useKept() {
  const [kept, setKept] = useState(stored);
  const [problem, setProblem] = useState('');

  const latest = () => problem ? kept : stored();  // another window may have changed it

  useEffect(() => {
    const follow = () => setKept(latest());
    addEventListener('storage', follow);
    return () => removeEventListener('storage', follow);
  });

  function change(next: Corrected[]) {
    setKept(next);
    try {
      localStorage.setItem(KEY, JSON.stringify(next));
      setProblem('');
    } catch {
      setProblem('This browser stores no more: download these before you close the page.');
    }
  }

  const without = (png: string) => latest().filter(one => one.png !== png);
  return {
    kept,
    problem,
    keep: (png: string, digit: number) => change([...without(png), {png, digit}]),
    remove: (png: string) => change(without(png)),
    clear: () => change([]),
  };
}

export function nameOf({digit}: Corrected, place: number): string {
  return `draw_${String(place + 1).padStart(3, '0')}_${digit}.png`;
}

function download(kept: Corrected[]) {
  const files = kept.map((one, place) => {
    const bytes = Uint8Array.from(atob(one.png.split(',')[1]!), letter => letter.charCodeAt(0));
    return [nameOf(one, place), bytes];
  });
  const zip = zipSync(Object.fromEntries(files), {level: 0});  // PNG files are small already
  const address = URL.createObjectURL(new Blob([zip], {type: 'application/zip'}));
  Object.assign(document.createElement('a'), {href: address, download: 'my_digits.zip'}).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

export function Kept({kept, problem, remove, clear}: Omit<ReturnType<typeof useKept>, 'keep'>) {
  return <>
    <p role="status">
      {kept.length ? `${kept.length} kept in this browser. ` : 'None yet. Your corrections are kept in this browser. '}
      {problem}
    </p>
    <ul className="kept">
      {kept.map(({png, digit}) => <li key={png}>
        <img src={png} alt={`A handwritten ${digit}`} />
        <button type="button" aria-label={`Remove this ${digit}`} onClick={() => remove(png)}>{digit} ×</button>
      </li>)}
    </ul>
    {kept.length > 0 && <>
      <button type="button" onClick={() => download(kept)}>Download</button>{' '}
      <button type="button" onClick={clear}>Remove all</button>
    </>}
  </>;
}
