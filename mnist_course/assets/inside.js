// Inside the network, on three linked levels: all of its maps, one map and where it comes from, and
// one number of it with all that adds up to it.
//   import {createInside} from './inside.js';
//   const inside = createInside(element, network);  inside.show(pixels, names)
// network is what network.js makes; names are those of the classes. The state of all levels is one
// object: maps and names, what is chosen, {block, map, input, place}, and the inputs of the chosen
// map: what each contributes, and their order.
import {arrow, colorScale, createStrip, formatNumber, frame, isNarrow, make} from './elements.js';
import {setAria, sign, smallMap, sumTable, table, withOperator} from './elements.js';
import {strongest} from './paint.js';

const SHOWN = 3;  // of the maps that a map comes from; the others are counted
const LARGEST_TABLE = 49;  // a window of more numbers is not written out

const NAMES = {
  convolution: 'convolution', linear: 'linear layer', pooling: 'max-pooling',
  normalization: 'normalization', relu: 'ReLU',
};
const WHAT_FOLLOWS = {
  pooling: 'max-pooling keeps the largest number of each square',
  normalization: 'normalization shifts and rescales',
  relu: 'ReLU turns everything below 0 into 0',
};
const HOW_TO_READ = 'Each small image is a map: what one kernel found, place by place. Right after '
  + 'a convolution, blue is above 0 and orange is below. After ReLU, darker is more. In each '
  + 'strip, the strongest color is the strongest number. Choose a map to see where it comes from.';

// A level can be folded; on a narrow screen, the lower ones are at first.
function createLevel(number, text, {open = true} = {}) {
  const title = make('h3', {textContent: text});
  const content = make('div');
  const element = make('details', {className: `level${number}`, open});
  element.append(make('summary', {}, title), content);
  return {element, title, content};
}

function isLast({blocks}, block) {  // the one that gives the scores
  return block === blocks.length - 1;
}

function nameOf(network, block) {  // such as convolution 2
  const {layers, blocks} = network;
  if (isLast(network, block)) return 'scores';
  const kindOf = ({sums}) => layers[sums].kind;
  const kind = kindOf(blocks[block]);
  const earlier = blocks.slice(0, block).filter(other => kindOf(other) === kind);
  return `${NAMES[kind]} ${earlier.length + 1}`;
}

function mapOf({layers}, {maps}, k, map) {  // the numbers of one map of a layer
  const [, height, width] = layers[k].shape;
  return maps[k].subarray(map*height*width, (map + 1)*height*width);
}

function sourceName(k, input) {  // what a layer's kernels are laid on
  return k === 1 ? 'the image' : `map ${input}`;
}

// level 1: all maps

function createLevel1(network, onChoose) {
  const {layers, blocks} = network;
  const level = createLevel(1, 'Level 1: the whole network');
  const figures = make('div', {className: 'strips'});
  const text = isNarrow() ? `${HOW_TO_READ} Swipe a strip to see the rest of it.` : HOW_TO_READ;
  level.content.append(make('p', {textContent: text}), figures);
  const strips = blocks.flatMap(({sums, result}, block) => {
    const choose = (map, byPointer) => onChoose({block, map, input: null, place: null}, byPointer);
    const name = nameOf(network, block);
    const made = [{block, layer: sums, ...createStrip(layers[sums], name, choose)}];
    if (result > sums) {
      const after = layers.slice(sums + 1, result + 1).map(({kind}) => NAMES[kind]);
      const then = `after ${after.join(', ')}`;
      const strip = createStrip(layers[result], then, choose, `${name}, ${then}`);
      made.push({block, layer: result, ...strip});
    }
    return made;
  });
  figures.append(...strips.map(({figure}) => figure));

  function paint(state) {
    for (const {block, layer, paint: paintStrip} of strips) {
      paintStrip(state.maps[layer], block === state.block ? state.map : null);
    }
  }

  return {...level, paint};
}

// level 2: one map, and where it comes from

function sentenceOf({layers, blocks}, block) {
  const {sums, result} = blocks[block];
  const from = sums === 1 ? 'the image' : 'each map of the layer before';
  const first = `A kernel slides over ${from}, and its products are added up.`;
  const then = layers.slice(sums + 1, result + 1).map(({kind}) => WHAT_FOLLOWS[kind]);
  if (!then.length) return first;
  const last = then.pop();
  return `${first} Then ${then.length ? `${then.join(', ')}, and ` : ''}${last}.`;
}

function createLevel2(network, {onTerm, onPlace}, options) {
  const {layers, blocks} = network;
  const level = createLevel(2, '', options);
  const sentence = make('p');
  const terms = make('div', {className: 'terms'});
  level.content.append(sentence, terms);
  let pinned = false;  // a number that was pressed stays when the pointer leaves

  function termOf(state, k, input, high) {  // map × kernel = what it adds
    const {size, shape: [, height, width]} = layers[k];
    const [, sourceHeight, sourceWidth] = layers[k - 1].shape;
    const values = mapOf(network, state, k - 1, input);
    const scale = colorScale(layers[k - 1], values);
    const source = smallMap(values, sourceWidth, sourceHeight, scale, sourceName(k, input));
    const weights = network.kernelOf(k, input, state.map);
    const kernel = smallMap(weights, size, size, {signed: true}, 'kernel');
    const added = state.contributions[input];
    const adds = smallMap(added, width, height, {signed: true, high}, 'what it adds');
    const equation = [source, sign('×'), kernel, sign('='), adds];
    const button = make('button', {type: 'button', className: 'term'}, ...equation);
    const pressed = state.input === input;
    setAria(button, {pressed});
    button.addEventListener('click', () => {
      pinned = false;
      onTerm(input);
      terms.querySelector('[aria-pressed=true]')?.focus();
    });
    if (pressed) {
      const {left, top} = network.sumAt(state.maps, k, input, state.map, ...state.place);
      frame(source.querySelector('canvas'), left, top, size);
    }
    return button;
  }

  function sumOf(state, k) {  // all terms together, in which one number is chosen
    const [, height, width] = layers[k].shape;
    const values = mapOf(network, state, k, state.map);
    const caption = width === 1 ? 'the sum' : 'the sum (hover or tap)';
    const figure = smallMap(values, width, height, {signed: true}, caption, 'large');
    if (width === 1) return figure;
    const canvas = figure.querySelector('canvas');
    const [column, row] = state.place;
    frame(canvas, column, row, 1);
    canvas.tabIndex = 0;
    const number = formatNumber(values[row*width + column]);
    const label = `row ${row}, column ${column} of the sum: ${number}`;
    setAria(canvas, {role: 'application', label});
    listen(canvas, state, width, height);
    return figure;
  }

  function listen(canvas, state, width, height) {
    const inside = (v, most) => Math.min(most - 1, Math.max(0, v));
    const choose = (event, pressed) => {
      const box = canvas.getBoundingClientRect();
      const x = Math.floor((event.clientX - box.left)*width/box.width);
      const y = Math.floor((event.clientY - box.top)*height/box.height);
      onPlace([inside(x, width), inside(y, height)], pressed);
    };
    canvas.addEventListener('pointermove', event => { if (!pinned) choose(event, false); });
    canvas.addEventListener('pointerdown', event => {
      choose(event, true);
      pinned = true;
    });
    canvas.addEventListener('keydown', event => {
      const step = arrow(event.key);
      if (!step) return;
      event.preventDefault();
      const [x, y] = state.place;
      onPlace([inside(x + step[0], width), inside(y + step[1], height)], true);
      terms.querySelector('.large canvas').focus();
    });
  }

  function paint(state) {
    const {block, map, names, contributions, order} = state;
    const {sums: k, result} = blocks[block];
    const what = isLast(network, block) ? `the score of the ${names[map]}`
      : `map ${map} of ${nameOf(network, block)}`;
    level.title.textContent = `Level 2: ${what}, and where it comes from`;
    if (!level.element.open) return;
    sentence.textContent = sentenceOf(network, block);
    const shown = order.slice(0, SHOWN);
    const high = Math.max(...shown.map(input => strongest(contributions[input])));
    const parts = shown.map((input, i) => {
      const term = termOf(state, k, input, high);
      return i ? withOperator('+', term) : term;
    });
    const others = order.length - shown.length;
    if (others) parts.push(sign(`+ ${others} more`));
    parts.push(withOperator('=', sumOf(state, k)));
    for (let next = k + 1; next <= result; next++) {
      const [, height, width] = layers[next].shape;
      const values = mapOf(network, state, next, map);
      const scale = colorScale(layers[next], values);
      const name = NAMES[layers[next].kind];
      parts.push(withOperator('→', smallMap(values, width, height, scale, name, 'large')));
    }
    terms.replaceChildren(...parts);
  }

  return {...level, paint, release: () => { pinned = false; }};
}

// level 3: one number

function createLevel3(network, options) {
  const {layers, blocks} = network;
  const level = createLevel(3, 'Level 3: one number of the sum', options);
  const sentence = make('p');
  const numbers = make('div', {className: 'numbers'});
  level.content.append(sentence, numbers);

  function numberName({block, map, names, place: [column, row]}) {
    if (isLast(network, block)) return `The score of the ${names[map]}`;
    if (layers[blocks[block].sums].shape[2] === 1) return `The number ${map}`;
    return `The number in row ${row}, column ${column} of the sum (counting from 0)`;
  }

  function paint(state) {
    if (!level.element.open) return;
    const {block, map, input, place} = state;
    const k = blocks[block].sums;
    const {size, inputs: count} = layers[k];
    const found = network.sumAt(state.maps, k, input, map, ...place);
    const others = count > 1 ? ', what the other maps add,' : '';
    const window = size === 1 ? 'the number' : 'the framed window';
    sentence.textContent = `${numberName(state)} is ${formatNumber(found.total)}. The kernel is `
      + `multiplied, number by number, with ${window} of ${sourceName(k, input)}. Then `
      + `everything is added up: these products${others} and the bias.`
      + (k === 1 ? ` Blank paper is ${formatNumber(colorScale(layers[0]).low)}.` : '');
    const parts = [];
    if (size*size <= LARGEST_TABLE) {
      parts.push(
        table('window', found.window, size), sign('×'),
        table('kernel', found.kernel, size), sign('='),
        table('products', found.products, size));
    }
    const products = size === 1 ? 'the product' : `the sum of ${size*size} products`;
    const lines = [[products, found.sum]];
    if (count > 1) lines.push([`the other ${count - 1} maps add`, found.others]);
    lines.push(['the bias', found.bias], ['all together', found.total]);
    numbers.replaceChildren(...parts, sumTable('added up', lines));
  }

  return {...level, paint};
}

// what is shown until something is chosen

function howStriking(values) {  // the strongest number of a map that is blank where nothing is
  const middle = Float32Array.from(values).sort()[Math.floor(values.length/2)];
  return Math.max(...values) - 2*Math.max(0, middle);
}

function mostStriking(network, state, k) {
  const [count] = network.layers[k].shape;
  let best = {map: 0, strength: -Infinity};
  for (let map = 0; map < count; map++) {
    const strength = howStriking(mapOf(network, state, k, map));
    if (strength > best.strength) best = {map, strength};
  }
  return best.map;
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

// all levels together

export function createInside(element, network) {
  const {layers, blocks} = network;
  const state = {maps: null, names: [], block: 0, map: null, input: null, place: null};
  let byHand = false;  // until then, what is shown is what is most striking
  const level1 = createLevel1(network, select);
  const options = {open: !isNarrow()};
  const level2 = createLevel2(network, {onTerm: chooseTerm, onPlace: choosePlace}, options);
  const level3 = createLevel3(network, options);
  const detail = make('div', {className: 'detail'}, level2.element, level3.element);
  element.replaceChildren(level1.element, detail);
  for (const level of [level1, level2, level3]) {
    level.element.addEventListener('toggle', () => { if (state.maps) paint(); });
  }

  function paint() {
    const {sums: k, result} = blocks[state.block];
    state.map ??= mostStriking(network, state, result);
    state.place ??= placeToShow(mapOf(network, state, k, state.map), layers[k].shape[2]);
    if (level1.element.open) level1.paint(state);
    if (level2.element.open || level3.element.open) findInputs(k);
    paintDetail();
  }

  function findInputs(k) {  // the maps that contribute most come first
    const all = Array.from({length: layers[k].inputs}, (_, input) => input);
    const added = all.map(input => network.contribution(state.maps, k, input, state.map));
    const weight = added.map(some => some.reduce((total, v) => total + Math.abs(v), 0));
    state.contributions = added;
    state.order = all.sort((a, b) => weight[b] - weight[a]);
    if (!state.order.slice(0, SHOWN).includes(state.input)) [state.input] = state.order;
  }

  function paintDetail() {
    level2.paint(state);
    level3.paint(state);
  }

  function select(change, byPointer) {  // a map of level 1
    byHand = true;
    level2.release();
    Object.assign(state, change);
    if (byPointer) level2.element.open = true;
    paint();
    const {top} = level2.element.getBoundingClientRect();
    const hidden = top < 0 || top > innerHeight - 100;
    if (byPointer && hidden) level2.element.scrollIntoView();
  }

  function chooseTerm(input) {
    byHand = true;
    state.input = input;
    level3.element.open = true;
    paintDetail();
  }

  function choosePlace(place, pressed) {
    byHand = true;
    const opened = pressed && !level3.element.open;
    if (opened) level3.element.open = true;
    else if (String(place) === String(state.place)) return;
    state.place = place;
    paintDetail();
  }

  return {
    show(pixels, names) {
      Object.assign(state, {maps: network.run(pixels), names});
      if (!byHand) Object.assign(state, {map: null, input: null, place: null});
      paint();
    },
  };
}
