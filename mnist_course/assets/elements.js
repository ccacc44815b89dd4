// What inside.js is made of: small maps, tables of numbers, strips that show all maps of a layer.
import {paintAt, paintMap, strongest} from './paint.js';

const MARK = '#CC79A7';
const CELL = 36;  // pixels of a map on a narrow screen
const FRAME = 224;  // pixels: a small map is at least as wide as this, once it has a frame

export function make(tag, given = {}, ...children) {
  const element = Object.assign(document.createElement(tag), given);
  element.append(...children);
  return element;
}

export function setAria(element, {role, ...aria}) {  // to those who hear the page
  if (role) element.setAttribute('role', role);
  for (const [name, value] of Object.entries(aria)) element.setAttribute(`aria-${name}`, value);
}

export function formatNumber(v) {
  return (Math.abs(v) < 5e-5 ? 0 : v).toFixed(4).replace('-', '−');
}

export function arrow(key) {
  return {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[key];
}

export const sign = text => make('span', {className: 'sign', textContent: text});

export function withOperator(text, element) {
  return make('div', {className: 'joined'}, sign(text), element);
}

export function isNarrow() {  // a phone, say
  return matchMedia('(max-width: 720px)').matches;
}

export function colorScale(layer, values) {  // paper is white, whatever number it has
  const {kind, mean, std} = layer;
  if (kind === 'pixels') return {low: -mean/std, high: (1 - mean)/std};
  return {signed: kind !== 'relu', high: strongest(values)};
}

export function smallMap(values, width, height, how, caption, className = '') {
  const canvas = make('canvas');
  paintMap(canvas, values, width, height, how);
  setAria(canvas, {role: 'img', label: caption});
  const label = make('figcaption', {textContent: caption});
  return make('figure', {className: `small ${className}`}, canvas, label);
}

export function frame(canvas, left, top, size) {  // which leaves the colors as they are
  const zoom = Math.ceil(FRAME/canvas.width);
  const map = new OffscreenCanvas(canvas.width, canvas.height);
  map.getContext('2d').drawImage(canvas, 0, 0);
  Object.assign(canvas, {width: zoom*canvas.width, height: zoom*canvas.height});
  const context = canvas.getContext('2d');
  context.imageSmoothingEnabled = false;
  context.drawImage(map, 0, 0, canvas.width, canvas.height);
  Object.assign(context, {strokeStyle: MARK, lineWidth: 6});
  context.strokeRect(zoom*left + 3, zoom*top + 3, zoom*size - 6, zoom*size - 6);
}

export function table(caption, numbers, size) {
  const body = make('tbody');
  for (let row = 0; row < size; row++) {
    const some = numbers.slice(row*size, (row + 1)*size);
    body.append(make('tr', {}, ...some.map(v => make('td', {textContent: formatNumber(v)}))));
  }
  return make('table', {}, make('caption', {textContent: caption}), body);
}

export function sumTable(caption, lines) {  // lines: [what, number]
  const rows = lines.map(([what, v]) => {
    const name = make('th', {scope: 'row', textContent: what});
    return make('tr', {}, name, make('td', {textContent: formatNumber(v)}));
  });
  const title = make('caption', {textContent: caption});
  return make('table', {className: 'sum'}, title, make('tbody', {}, ...rows));
}

function sizeOf({shape: [maps, height, width]}) {
  if (width === 1) return `${maps} numbers`;
  return maps === 1 ? `${width} × ${height}` : `${maps} maps of ${width} × ${height}`;
}

function columnsFor(count, width) {
  if (count <= 10) return count;
  if (width === 1) return isNarrow() ? 16 : 32;
  return isNarrow() ? Math.ceil(count/2) : 16;
}

// All maps of a layer in one canvas; one of them is marked. It is a slider for the keyboard. On a
// narrow screen, it has two rows, which are moved sideways.
export function createStrip(layer, title, onChoose, label = title) {
  const [count, height, width] = layer.shape;
  const across = columnsFor(count, width);
  const zoom = width === 1 ? 6 : width < 5 ? 2 : 1;
  const cell = width*zoom + 2;
  const canvas = make('canvas', {tabIndex: 0});
  const pane = make('div', {className: 'pane'}, canvas);
  if (isNarrow() && width > 1 && count > 10) canvas.style.width = `${across*CELL}px`;
  Object.assign(canvas, {width: across*cell, height: Math.ceil(count/across)*cell});
  const context = canvas.getContext('2d');
  const image = new ImageData(canvas.width, canvas.height);
  image.data.fill(255);
  setAria(canvas, {role: 'slider', label, valuemin: 0, valuemax: count - 1});
  let chosen = null;

  function paint(values, marked) {
    const how = colorScale(layer, values);
    const size = width*height;
    const place = k => [k % across*cell, Math.floor(k/across)*cell];
    for (let k = 0; k < count; k++) {
      const [x, y] = place(k);
      paintAt(image, values.subarray(k*size, (k + 1)*size), width, x + 1, y + 1, zoom, how);
    }
    context.putImageData(image, 0, 0);
    chosen = marked;
    const text = marked === null ? 'no map chosen' : `map ${marked} of 0 to ${count - 1}`;
    setAria(canvas, {valuenow: marked ?? 0, valuetext: text});
    if (marked === null) return;
    const [x, y] = place(marked);
    Object.assign(context, {strokeStyle: MARK, lineWidth: 1});
    context.strokeRect(x + .5, y + .5, cell - 1, cell - 1);
  }

  canvas.addEventListener('click', event => {
    const box = canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left)*across/box.width);
    const row = Math.floor((event.clientY - box.top)*canvas.height/cell/box.height);
    const map = row*across + column;
    if (map >= 0 && map < count) onChoose(map, true);
  });
  canvas.addEventListener('keydown', event => {
    const step = arrow(event.key);
    const end = {Home: 0, End: count - 1}[event.key];
    if (!step && end === undefined) return;
    event.preventDefault();
    const next = chosen === null ? 0 : end ?? chosen + step[0] + across*step[1];
    const map = Math.min(count - 1, Math.max(0, next));
    onChoose(map);
    const middle = (map % across + .5)*canvas.clientWidth/across;
    pane.scrollTo({left: middle - pane.clientWidth/2});
  });
  const caption = make('figcaption', {textContent: `${title}: ${sizeOf(layer)}`});
  return {figure: make('figure', {className: 'strip'}, caption, pane), paint};
}
