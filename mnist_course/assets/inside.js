// Inside the network, on three linked levels: all of its maps, one map and where it comes from, and
// one number of it with all that adds up to it.
//   import {createInside} from './inside.js';
//   const inside = createInside(element, network);  inside.show(pixels, names)
// network is what network.js makes; names are those of the classes.
import {arrow, createStrip, frame, howToPaint, joined, make, say} from './elements.js';
import {sign, smallMap, sumTable, table, written} from './elements.js';
import {strongest} from './paint.js';

const SHOWN = 3;  // of the maps that a map comes from; the others are counted
const LARGEST_TABLE = 49;  // a window of more numbers is not written out

const NAMES = {
  convolution: 'convolution', linear: 'linear layer', pooling: 'max-pooling',
  normalization: 'normalization', relu: 'ReLU',
};
const HOW_TO_READ = 'Each small image is a map: what one kernel found, place by place. A layer '
  + 'first computes weighted sums: blue is above 0, orange is below. Max-pooling shrinks each map, '
  + 'normalization shifts and rescales it, and ReLU turns everything below 0 into 0; after that, '
  + 'darker is more. Colors are scaled to the strongest number shown, so compare them within a '
  + 'strip. Choose any map to see where it comes from.';

function howStriking(values) {  // the strongest number of a map that is blank where nothing is
  const middle = Float32Array.from(values).sort()[Math.floor(values.length/2)];
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
  const lastBlock = blocks.length - 1;
  const chosen = {block: 0, map: null, input: null, place: null};
  let byHand = false;  // until then, what is shown is what is most striking
  let pinned = false;  // a number that was pressed stays when the pointer leaves
  let maps = null;
  let names = [];
  let inputs = null;  // of the chosen map: what each contributes, and their order

  const first = make('div', {className: 'strips'});
  const second = make('div', {className: 'terms'});
  const third = make('div', {className: 'numbers'});
  const title = make('h3');
  const detail = make('div', {className: 'detail'});
  const sentence = make('p');
  const heading = textContent => make('h3', {textContent});
  detail.append(title, second, heading('Level 3: one number of the sum'), sentence, third);
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
      const {top} = title.getBoundingClientRect();
      const hidden = top < 0 || top > innerHeight - 100;
      if (byPointer && hidden) title.scrollIntoView();
    };
    const called = block === lastBlock ? 'scores' : nameOf(block);
    const sum = createStrip(layers[sums], called, choose);
    first.append(sum.figure);
    const made = [{block, layer: sums, ...sum}];
    if (result > sums) {
      const after = layers.slice(sums + 1, result + 1).map(({kind}) => NAMES[kind]);
      const then = `after ${after.join(', ')}`;
      const strip = createStrip(layers[result], then, choose, `${called}, ${then}`);
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
    byHand = true;
    pinned = false;
    Object.assign(chosen, change);
    if (maps) paint();
  }

  function paintFirst() {
    for (const {block, layer, paint: paintStrip} of strips) {
      paintStrip(maps[layer], block === chosen.block ? chosen.map : null);
    }
  }

  function inputsOf(k, output) {  // the maps that contribute most to a map come first
    const all = Array.from({length: layers[k].inputs}, (_, i) => i);
    const contributions = all.map(i => network.contribution(maps, k, i, output));
    const weight = contributions.map(some => some.reduce((sum, v) => sum + Math.abs(v), 0));
    return {contributions, order: all.sort((a, b) => weight[b] - weight[a])};
  }

  function before(k, input) {  // a map of the layer before
    const [, height, width] = layers[k - 1].shape;
    const values = one(k - 1, input);
    return [values, width, height, howToPaint(layers[k - 1], values)];
  }

  function term(k, input, output, high) {  // map × kernel = what it adds
    const {size, shape: [, height, width]} = layers[k];
    const name = k === 1 ? 'the image' : `map ${input}`;
    const pressed = chosen.input === input;
    const source = smallMap(...before(k, input), name);
    const weights = network.kernelOf(k, input, output);
    const kernel = smallMap(weights, size, size, {signed: true}, 'kernel');
    const some = inputs.contributions[input];
    const adds = smallMap(some, width, height, {signed: true, high}, 'what it adds');
    const equation = [source, sign('×'), kernel, sign('='), adds];
    const button = make('button', {type: 'button', className: 'term'}, ...equation);
    say(button, {pressed});
    button.addEventListener('click', () => {
      select({input});
      second.querySelector('[aria-pressed=true]')?.focus();
    });
    if (pressed) {
      const {left, top} = network.sumAt(maps, k, input, output, ...chosen.place);
      frame(source.querySelector('canvas'), left, top, size);
    }
    return button;
  }

  function sumMap(k, output) {  // the sum, in which one number is chosen
    const [, height, width] = layers[k].shape;
    const values = one(k, output);
    const caption = width === 1 ? 'the sum' : 'the sum (hover or tap)';
    const figure = smallMap(values, width, height, {signed: true}, caption, 'large');
    const canvas = figure.querySelector('canvas');
    if (width === 1) return figure;
    const [column, row] = chosen.place;
    frame(canvas, column, row, 1);
    canvas.tabIndex = 0;
    const number = written(values[row*width + column]);
    say(canvas, {role: 'application', label: `row ${row}, column ${column} of the sum: ${number}`});
    const inside = (v, most) => Math.min(most - 1, Math.max(0, v));
    const choose = event => {
      const box = canvas.getBoundingClientRect();
      const x = Math.floor((event.clientX - box.left)*width/box.width);
      const y = Math.floor((event.clientY - box.top)*height/box.height);
      choosePlace([inside(x, width), inside(y, height)]);
    };
    canvas.addEventListener('pointermove', event => { if (!pinned) choose(event); });
    canvas.addEventListener('pointerdown', event => {
      choose(event);
      pinned = true;
    });
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
    byHand = true;
    if (String(place) === String(chosen.place)) return;
    chosen.place = place;
    paintSecond();
    paintThird();
  }

  function paintSecond() {
    const {block, map: output} = chosen;
    const {sums: k, result} = blocks[block];
    const {contributions, order} = inputs;
    if (!order.slice(0, SHOWN).includes(chosen.input)) chosen.input = order[0];
    const what = block === lastBlock ? `the score of the ${names[output]}`
      : `map ${output} of ${nameOf(block)}`;
    title.textContent = `Level 2: ${what}, and where it comes from`;
    const shown = order.slice(0, SHOWN);
    const high = Math.max(...shown.map(input => strongest(contributions[input])));
    const terms = shown.map(input => term(k, input, output, high));
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

  function numberName() {  // of the number that level 3 explains
    const {block, map: output, place: [column, row]} = chosen;
    if (block === lastBlock) return `The score of the ${names[output]}`;
    if (layers[blocks[block].sums].shape[2] === 1) return `The number ${output}`;
    return `The number in row ${row}, column ${column} of the sum (counting from 0)`;
  }

  function paintThird() {
    const {block, map: output, input, place} = chosen;
    const k = blocks[block].sums;
    const {size, inputs: count} = layers[k];
    const found = network.sumAt(maps, k, input, output, ...place);
    const others = count > 1 ? ', what the other maps add,' : '';
    const window = size === 1 ? 'the number' : 'the framed window';
    sentence.textContent = `${numberName()} is ${written(found.total)}. The kernel is multiplied, `
      + `number by number, with ${window} of ${k === 1 ? 'the image' : `map ${input}`}. Then `
      + `everything is added up: these products${others} and the bias.`
      + (k === 1 ? ` Blank paper is ${written(howToPaint(layers[0]).low)}.` : '');
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
    third.replaceChildren(...parts, sumTable('added up', lines));
  }

  function paint() {
    const k = blocks[chosen.block].sums;
    const [count, , width] = layers[k].shape;
    chosen.map ??= strongestOf(count, map => howStriking(one(blocks[chosen.block].result, map)));
    chosen.place ??= placeToShow(one(k, chosen.map), width);
    inputs = inputsOf(k, chosen.map);
    paintFirst();
    paintSecond();
    paintThird();
  }

  return {
    show(pixels, namesOfClasses) {
      names = namesOfClasses;
      maps = network.run(pixels);
      if (!byHand) Object.assign(chosen, {map: null, input: null, place: null});
      paint();
    },
  };
}
