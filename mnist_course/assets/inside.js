// Inside the network, on three linked levels: all of its maps, one map and where it comes from, and
// one multiplication with its numbers.
//   import {createInside} from './inside.js';
//   const inside = createInside(element, network);  inside.show(pixels)   network: by network.js
import {isSum} from './network.js';
import {paintAt, paintMap, strongest} from './paint.js';

const SHOWN = 3;  // of the maps that a map comes from; the others are counted
const LARGEST_TABLE = 49;  // a window of more numbers is not written out
const MARK = '#CC79A7';

const NAMES = {
  convolution: 'convolution', linear: 'linear layer', pooling: 'max-pooling',
  normalization: 'normalization', relu: 'ReLU',
};

export function make(tag, given = {}, ...children) {
  const element = Object.assign(document.createElement(tag), given);
  element.append(...children);
  return element;
}

function say(element, {role, ...aria}) {  // to those who hear the page
  if (role) element.setAttribute('role', role);
  for (const [name, value] of Object.entries(aria)) element.setAttribute(`aria-${name}`, value);
}

export function written(v) {
  return (Math.abs(v) < 5e-5 ? 0 : v).toFixed(4).replace('-', '−');
}

const HOW_TO_READ = 'Each small image is a map: what one kernel of a layer has found. In the maps '
  + 'of a layer’s sums, blue is more than 0 and orange is less. After ReLU, nothing is less than '
  + '0, and darker is more. Choose any map to see where it comes from.';

const isInk = ({kind}) => kind === 'pixels' || kind === 'relu';

function howToPaint(layer, values) {  // paper is white, whatever number it has
  const {kind, mean, std} = layer;
  if (kind === 'pixels') return {low: -mean/std, high: (1 - mean)/std};
  return {signed: !isInk(layer), high: strongest(values)};
}

function sizeOf({shape: [maps, height, width]}) {
  if (width === 1) return `${maps} numbers`;
  return maps === 1 ? `${width} × ${height}` : `${maps} maps of ${width} × ${height}`;
}

function arrow(key) {
  return {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[key];
}

// All maps of a layer in one canvas; one of them is marked. It is a slider for the keyboard.
function createStrip(layer, title, onChoose) {
  const [count, height, width] = layer.shape;
  const across = count <= 10 ? count : width === 1 ? 32 : 16;
  const zoom = width === 1 ? 6 : width < 5 ? 2 : 1;
  const cell = width*zoom + 2;
  const canvas = make('canvas', {tabIndex: 0});
  Object.assign(canvas, {width: across*cell, height: Math.ceil(count/across)*cell});
  const context = canvas.getContext('2d');
  say(canvas, {role: 'slider', label: title, valuemin: 0, valuemax: count - 1});
  const place = k => [k % across*cell, Math.floor(k/across)*cell];

  function paint(values, marked) {
    const how = howToPaint(layer, values);
    const image = new ImageData(canvas.width, canvas.height);
    image.data.fill(255);
    const size = width*height;
    for (let k = 0; k < count; k++) {
      const [x, y] = place(k);
      paintAt(image, values.subarray(k*size, (k + 1)*size), width, x + 1, y + 1, zoom, how);
    }
    context.putImageData(image, 0, 0);
    const value = marked ?? 0;
    say(canvas, {valuenow: value, valuetext: `${value} of 0 to ${count - 1}`});
    if (marked === null) return;
    const [x, y] = place(marked);
    Object.assign(context, {strokeStyle: MARK, lineWidth: 1});
    context.strokeRect(x + .5, y + .5, cell - 1, cell - 1);
  }

  canvas.addEventListener('pointerdown', event => {
    const box = canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left)*across/box.width);
    const row = Math.floor((event.clientY - box.top)*canvas.height/cell/box.height);
    const chosen = row*across + column;
    if (chosen >= 0 && chosen < count) onChoose(chosen, true);
  });
  canvas.addEventListener('keydown', event => {
    const step = arrow(event.key);
    if (!step) return;
    event.preventDefault();
    const now = Number(canvas.getAttribute('aria-valuenow'));
    onChoose(Math.min(count - 1, Math.max(0, now + step[0] + across*step[1])));
  });
  const caption = make('figcaption', {textContent: `${title}: ${sizeOf(layer)}`});
  return {figure: make('figure', {className: 'strip'}, caption, canvas), paint};
}

function smallMap(values, width, height, how, caption, className = '') {
  const canvas = make('canvas');
  paintMap(canvas, values, width, height, how);
  say(canvas, {role: 'img', label: caption});
  const label = make('figcaption', {textContent: caption});
  return make('figure', {className: `small ${className}`}, canvas, label);
}

const joined = (text, element) => make('div', {className: 'signed'}, sign(text), element);
const sign = text => make('span', {className: 'sign', textContent: text});

function mark(canvas, left, top, size) {
  const context = canvas.getContext('2d');
  Object.assign(context, {strokeStyle: MARK, lineWidth: .6});
  context.strokeRect(left, top, size, size);
}

function table(caption, numbers, size) {
  const body = make('tbody');
  for (let row = 0; row < size; row++) {
    const some = numbers.slice(row*size, (row + 1)*size);
    body.append(make('tr', {}, ...some.map(v => make('td', {textContent: written(v)}))));
  }
  return make('table', {}, make('caption', {textContent: caption}), body);
}

function howStriking(values) {  // the strongest number of a map that is blank where nothing is
  const middle = [...values].sort((a, b) => a - b)[Math.floor(values.length/2)];
  return Math.max(...values) - 2*Math.max(0, middle);
}

function placeToShow(values, width) {  // where a sum is largest; not at the edge, if it has others
  const edge = width > 4 ? 1 : 0;
  let best = [edge, edge];
  for (let y = edge; y < width - edge; y++) {
    for (let x = edge; x < width - edge; x++) {
      if (values[y*width + x] > values[best[1]*width + best[0]]) best = [x, y];
    }
  }
  return best;
}

export function createInside(element, network) {
  const {layers, blocks} = network;
  const chosen = {block: 0, map: null, input: null, place: null};
  let maps = null;

  const first = make('div', {className: 'strips'});
  const second = make('div', {className: 'terms'});
  const third = make('div', {className: 'numbers'});
  const title = make('h3');
  const detail = make('div', {className: 'detail'});
  const sentence = make('p');
  const heading = textContent => make('h3', {textContent});
  detail.append(title, second, heading('Level 3: one multiplication'), sentence, third);
  const whole = make('div', {}, heading('Level 1: the whole network'), first);
  element.replaceChildren(make('p', {textContent: HOW_TO_READ}), whole, detail);

  function nameOf(block) {  // such as convolution 2
    const kindOf = ({sums}) => layers[sums].kind;
    const kind = kindOf(blocks[block]);
    const earlier = blocks.slice(0, block).filter(other => kindOf(other) === kind);
    return `${NAMES[kind]} ${earlier.length + 1}`;
  }

  const strips = blocks.flatMap(({sums, result}, block) => {
    const choose = (map, byPointer) => {
      select({block, map, input: null, place: null});
      const hidden = title.getBoundingClientRect().top > innerHeight - 100;
      if (byPointer && hidden) title.scrollIntoView();
    };
    const last = block === blocks.length - 1;
    const sum = createStrip(layers[sums], last ? 'scores of the classes' : nameOf(block), choose);
    first.append(sum.figure);
    const made = [{block, layer: sums, ...sum}];
    if (result > sums) {
      const after = layers.slice(sums + 1, result + 1).map(({kind}) => NAMES[kind]);
      const strip = createStrip(layers[result], `after ${after.join(', ')}`, choose);
      first.append(strip.figure);
      made.push({block, layer: result, ...strip});
    }
    return made;
  });

  function one(k, map) {  // the numbers of one map of a layer
    const [, height, width] = layers[k].shape;
    return maps[k].subarray(map*height*width, (map + 1)*height*width);
  }

  function strongestOf(count, valueOf) {
    let best = 0;
    for (let k = 1; k < count; k++) if (valueOf(k) > valueOf(best)) best = k;
    return best;
  }

  function select(change) {
    Object.assign(chosen, change);
    if (maps) paint();
  }

  function paintFirst() {
    for (const {block, layer, paint: paintStrip} of strips) {
      paintStrip(maps[layer], block === chosen.block ? chosen.map : null);
    }
  }

  function inputsOf(k, output) {  // the maps that give most to a map, and what they give
    const inputs = Array.from({length: layers[k].inputs}, (_, i) => i);
    const shares = inputs.map(i => network.share(maps, k, i, output));
    const weight = shares.map(share => share.reduce((sum, v) => sum + Math.abs(v), 0));
    return {shares, order: inputs.sort((a, b) => weight[b] - weight[a])};
  }

  function before(k, input) {  // a map of the layer before
    const [, height, width] = layers[k - 1].shape;
    const values = one(k - 1, input);
    return [values, width, height, howToPaint(layers[k - 1], values)];
  }

  function term(k, input, share, output) {  // map × kernel = what it gives
    const {size, shape: [, height, width]} = layers[k];
    const name = k === 1 ? 'the image' : `map ${input}`;
    const pressed = chosen.input === input;
    const signed = {signed: true};
    const source = smallMap(...before(k, input), name);
    const kernel = smallMap(network.kernelOf(k, input, output), size, size, signed, 'kernel');
    const gives = smallMap(share, width, height, signed, 'its share');
    const equation = [source, sign('×'), kernel, sign('='), gives];
    const button = make('button', {type: 'button', className: 'term'}, ...equation);
    say(button, {pressed});
    button.addEventListener('click', () => {
      select({input});
      second.querySelector('[aria-pressed=true]')?.focus();
    });
    if (pressed) {
      const {left, top} = network.sumAt(maps, k, input, output, ...chosen.place);
      mark(source.querySelector('canvas'), left, top, size);
    }
    return button;
  }

  function sumMap(k, output) {  // the sum, in which one number is chosen
    const [, height, width] = layers[k].shape;
    const values = one(k, output);
    const figure = smallMap(values, width, height, {signed: true}, 'the sum', 'large');
    const canvas = figure.querySelector('canvas');
    mark(canvas, ...chosen.place, 1);
    if (width === 1) return figure;
    canvas.tabIndex = 0;
    say(canvas, {role: 'application', label: 'the sum: choose a number by pointer or arrow keys'});
    const inside = (v, most) => Math.min(most - 1, Math.max(0, v));
    const choose = event => {
      const box = canvas.getBoundingClientRect();
      const x = Math.floor((event.clientX - box.left)*width/box.width);
      const y = Math.floor((event.clientY - box.top)*height/box.height);
      choosePlace([inside(x, width), inside(y, height)]);
    };
    canvas.addEventListener('pointermove', choose);
    canvas.addEventListener('pointerdown', choose);
    canvas.addEventListener('keydown', event => {
      const step = arrow(event.key);
      if (!step) return;
      event.preventDefault();
      const [x, y] = chosen.place;
      choosePlace([inside(x + step[0], width), inside(y + step[1], height)]);
      second.querySelector('.large canvas').focus();
    });
    return figure;
  }

  function choosePlace(place) {
    if (String(place) === String(chosen.place)) return;
    chosen.place = place;
    paintSecond();
    paintThird();
  }

  function paintSecond() {
    const {block, map: output} = chosen;
    const {sums: k, result} = blocks[block];
    const {shares, order} = inputsOf(k, output);
    if (!order.slice(0, SHOWN).includes(chosen.input)) chosen.input = order[0];
    title.textContent = `Level 2: map ${output} of ${nameOf(block)}, and where it comes from`;
    const terms = order.slice(0, SHOWN).map(input => term(k, input, shares[input], output));
    const others = order.length - terms.length;
    const parts = terms.map((t, i) => i ? joined('+', t) : t);
    if (others) parts.push(sign(`+ ${others} more`));
    parts.push(joined('=', sumMap(k, output)));
    for (let next = k + 1; next <= result; next++) {
      const [, height, width] = layers[next].shape;
      const values = one(next, output);
      const how = howToPaint(layers[next], values);
      const name = NAMES[layers[next].kind];
      parts.push(joined('→', smallMap(values, width, height, how, name, 'large')));
    }
    second.replaceChildren(...parts);
  }

  function paintThird() {
    const {block, map: output, input, place} = chosen;
    const k = blocks[block].sums;
    const {size, inputs} = layers[k];
    const found = network.sumAt(maps, k, input, output, ...place);
    const from = k === 1 ? 'the image' : `map ${input}`;
    const where = layers[k].shape[2] === 1 ? '' : ` in row ${place[1]}, column ${place[0]}`;
    sentence.textContent = `The number${where} of the sum is ${written(found.total)}. The window `
      + `of ${from} that is framed above gets multiplied by the kernel, number by number. All `
      + 'products are added up.';
    const parts = [];
    if (size*size <= LARGEST_TABLE) {
      parts.push(
        table('window', found.window, size), sign('×'),
        table('kernel', found.kernel, size), sign('='),
        table('products', found.products, size));
    }
    const products = size === 1 ? 'the product' : `the sum of ${size*size} products`;
    const lines = [[products, found.sum]];
    if (inputs > 1) lines.push([`the other ${inputs - 1} maps add`, found.others]);
    lines.push(['the bias', found.bias], ['all together', found.total]);
    const rows = lines.map(([what, v]) => {
      const name = make('th', {scope: 'row', textContent: what});
      return make('tr', {}, name, make('td', {textContent: written(v)}));
    });
    const caption = make('caption', {textContent: 'added up'});
    const sum = make('table', {className: 'sum'}, caption, make('tbody', {}, ...rows));
    third.replaceChildren(...parts, sum);
  }

  function paint() {
    const k = blocks[chosen.block].sums;
    const [count, , width] = layers[k].shape;
    chosen.map ??= strongestOf(count, map => howStriking(one(blocks[chosen.block].result, map)));
    if (!chosen.place) {
      chosen.place = placeToShow(one(k, chosen.map), width);
    }
    paintFirst();
    paintSecond();
    paintThird();
  }

  return {
    show(pixels) {
      maps = network.run(pixels);
      paint();
    },
    chosen,
    select,
    sums: layers.filter(isSum).length,
  };
}
