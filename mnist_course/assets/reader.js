// Reads the digits of any image in the browser: what `reading` and `reading_order` of the library
// do, under the same names. Constants and sentences are Python's, in the page's settings.
//   import {predict, readNumber} from './reader.js';
//   await readNumber(image, finder, model)   rows of {digit, confidence, probs, warning, box, …}
// model(Uint8Array, [n, 28, 28]) gives probabilities, as {data, dims}; finder as in locate.js.
import {cutOut, locate, missed} from './locate.js';
import {above, boundingBox, gray, inSource, isMnist, mnistForm} from './pixels.js';
import {range, rot90, round, sum} from './pixels.js';
import {constants, remarks, settings} from './settings.js';

const {doubt} = settings;
const {CLOSE_UP, SIDE, FAINT, SAMPLE, LEAST, LEAST_OF_BOTH} = constants;
const {CERTAIN, GUESS, SHAKY, TILTS, UPRIGHT, CONVINCING} = constants;
const HALF = CLOSE_UP/2;

function fill(sentence, values) {
  return sentence.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

function touchesEdge([x, y, w, h], {width, height}) {
  const margin = .01*Math.max(width, height);
  return Math.min(x, y) < margin || x + w > width - margin || y + h > height - margin;
}

function isFaint(image) {
  const {width, height} = image;
  const step = Math.max(1, Math.floor(Math.max(width, height)/SAMPLE));
  const values = gray(image);
  const counts = new Uint32Array(3*255 + 1);  // of each level: the mean of three colors is a third
  for (let y = 0; y < height; y += step) {
    for (let x = 0; x < width; x += step) counts[Math.round(3*values[y*width + x])]++;
  }
  return quantileOf(counts, .998) - quantileOf(counts, .002) < 3*FAINT;
}

function quantileOf(counts, q) {  // a level, where `counts` says how often each occurs
  const at = q*(sum(counts) - 1);
  const levelAt = place => {
    let level = 0;
    for (let before = counts[0]; before <= place; before += counts[level]) level++;
    return level;
  };
  const low = levelAt(Math.floor(at));
  return low + (levelAt(Math.ceil(at)) - low)*(at % 1);
}

async function look(image, finder) {  // `look` of reading: the largest digit
  if (isMnist(image)) {
    const values = gray(image);
    const box = inSource(image, boundingBox(above(values, 8), SIDE));
    return {pixels: Uint8Array.from(values, round), box, remark: null};
  }
  const found = await cutOut(finder, image, (await locate(finder, image)).cores);
  const digits = found.filter(({confidence}) => confidence >= LEAST);
  if (!digits.length) {
    const remark = isFaint(image) ? remarks.blank : remarks.nothing;
    return {pixels: new Uint8Array(SIDE*SIDE), box: null, remark};
  }
  const [{ink, box, confidence}] = digits;
  const longer = ([, , w, h]) => Math.max(w, h);
  const count = digits.filter(digit => longer(digit.box) > .45*longer(box)).length;
  let remark = null;
  if (count > 1) remark = fill(remarks.several, {count});
  else if (isFaint(image)) remark = remarks.faint;
  const cut = touchesEdge(box, image);
  return {pixels: mnistForm(ink, HALF), box: inSource(image, box), remark, cut, found: confidence};
}

function doubts(probs, cut, found) {
  const [first, second] = range(probs.length).sort((a, b) => probs[b] - probs[a]);
  if (probs[first] < (found === undefined ? doubt ?? GUESS : GUESS)) {
    const two = doubt === null || probs[first] + probs[second] > GUESS;
    return two ? fill(remarks.unsure, {first, second}) : remarks.strange;
  }
  if (found < SHAKY) return remarks.strange;
  return cut && probs[first] < CERTAIN ? remarks.cut : null;
}

async function predictProbs(model, images) {
  const pixels = new Uint8Array(images.length*SIDE*SIDE);
  images.forEach((image, k) => pixels.set(image, k*SIDE*SIDE));
  const {data, dims} = await model(pixels, [images.length, SIDE, SIDE]);
  return images.map((_, k) => [...data.subarray(k*dims[1], (k + 1)*dims[1])]);
}

function tilted(pixels, degrees) {
  const [cos, sin] = [Math.cos(degrees*Math.PI/180), Math.sin(degrees*Math.PI/180)];
  const middle = SIDE/2 - .5;
  const at = (x, y) => x < 0 || y < 0 || x >= SIDE || y >= SIDE ? 0 : pixels[y*SIDE + x];
  return pixels.map((_, i) => {
    const right = i % SIDE - middle;
    const down = Math.floor(i/SIDE) - middle;
    const x = middle + cos*right - sin*down;
    const y = middle + sin*right + cos*down;
    const left = Math.floor(x);
    const top = Math.floor(y);
    const across = row => (left + 1 - x)*at(left, row) + (x - left)*at(left + 1, row);
    return round((top + 1 - y)*across(top) + (y - top)*across(top + 1));
  });
}

function viewsOf({pixels, found}) {  // a digit that was cut out of a page is also tilted
  const tilts = found === undefined ? [] : TILTS;
  return [pixels, ...tilts.map(degrees => tilted(pixels, degrees))];
}

async function classify(seen, model) {
  if (!seen.length) return [];
  const views = seen.map(viewsOf);
  const all = await predictProbs(model, views.flat());
  return seen.map(({pixels, box, remark, cut, found}, k) => {
    const its = all.splice(0, views[k].length);
    const probs = range(10).map(digit => sum(its.map(view => view[digit]))/its.length);
    const confidence = Math.max(...probs);
    const warning = remark ?? doubts(probs, cut, found);
    return {digit: probs.indexOf(confidence), confidence, probs, pixels, warning, box};
  });
}

export async function predict(image, finder, model) {
  const [answer] = await classify([await look(image, finder)], model);
  return answer;
}

function turned([x, y, w, h], turns, {width, height}) {
  const around = {width: height, height: width};
  return turns ? turned([y, width - x - w, h, w], turns - 1, around) : [x, y, w, h];
}

async function vote(digits, turns, model) {
  if (!digits.length) return 0;
  const images = digits.map(({ink}) => {
    const {planes} = rot90({planes: [ink], width: HALF, height: HALF}, turns);
    return mnistForm(planes[0], HALF);
  });
  const probs = await predictProbs(model, images);
  return sum(probs.map(some => Math.max(...some) - .5));
}

async function orientation(digits, model, sideways) {
  const ways = new Map([[0, await vote(digits, 0, model) + UPRIGHT*digits.length]]);
  if (digits.length >= 3) ways.set(2, await vote(digits, 2, model));
  if (Math.max(...ways.values()) <= CONVINCING*digits.length) {
    const found = await sideways();
    if (found.length >= 3) {
      ways.set(1, await vote(found, 0, model));
      ways.set(3, await vote(found, 2, model));
    }
  }
  const most = Math.max(...ways.values());
  return [...ways.keys()].find(turns => ways.get(turns) === most);
}

function inRows(boxes) {  // their numbers, row by row
  const order = range(boxes.length).sort((a, b) => boxes[a][0] - boxes[b][0]);
  let row = range(boxes.length);
  order.forEach((i, place) => {
    const [, top, , h] = boxes[i];
    const next = order.slice(place + 1).find(j => {
      const [, otherTop, , otherH] = boxes[j];
      const level = Math.min(top + h, otherTop + otherH) - Math.max(top, otherTop);
      return level > .5*Math.min(h, otherH);
    });
    if (next !== undefined) row = row.map(r => r === row[next] ? row[i] : r);
  });
  const middle = some => sum(some.map(i => boxes[i][1] + boxes[i][3]/2))/some.length;
  return [...new Set(row)].map(r => order.filter(i => row[i] === r))
    .sort((a, b) => middle(a) - middle(b));
}

function nearest(boxes, part) {
  const middle = ([x, y, w, h]) => [x + w/2, y + h/2];
  const [x, y] = middle(part);
  const distances = boxes.map(box => Math.hypot(middle(box)[0] - x, middle(box)[1] - y));
  return distances.indexOf(Math.min(...distances));
}

function besideASign([x, y, w, h], signs) {
  const near = gap => -.3*h < gap && gap < .6*h;
  return signs.some(([sx, sy, sw, sh]) => {
    const close = near(sx - (x + w)) || near(x - (sx + sw));
    const level = y - .1*h < sy + sh/2 && sy + sh/2 < y + 1.2*h;
    const inside = x < sx + sw/2 && sx + sw/2 < x + w;
    return close && level && !inside && Math.max(sw, sh) < 1.2*h;
  });
}

export async function readNumber(image, finder, model) {
  if (isMnist(image)) return [[await predict(image, finder, model)]];
  let page = image;
  let found = await locate(finder, page);
  let digits = await cutOut(finder, page, found.cores);
  const find = async some => cutOut(finder, some, (await locate(finder, some)).cores);
  const turns = await orientation(digits, model, () => find(rot90(image, 1)));
  if (turns) {  // look again, now that the page is upright
    page = rot90(image, turns);
    found = await locate(finder, page);
    digits = await cutOut(finder, page, found.cores);
  }
  digits = digits.filter(({confidence}) => confidence >= LEAST);
  const seen = digits.map(({ink, box, confidence}) => ({
    pixels: mnistForm(ink, HALF),
    found: confidence,
    box: inSource(image, turned(box, (4 - turns) % 4, page)),
    cut: touchesEdge(box, page),
  }));
  const all = await classify(seen, model);
  const believed = range(digits.length)
    .filter(i => digits[i].confidence*all[i].confidence >= LEAST_OF_BOTH);
  const boxes = believed.map(i => digits[i].box);
  const answers = believed.map(i => all[i]);
  const signs = found.signs();
  const incomplete = missed(found.inkParts(), boxes).map(part => nearest(boxes, part));
  answers.forEach((answer, i) => {
    if (incomplete.includes(i)) answer.warning ??= remarks.missed;
    else if (turns) answer.warning ??= remarks.turned;
    else if (besideASign(boxes[i], signs)) answer.warning ??= remarks.beside;
  });
  return inRows(boxes).map(row => row.map(i => answers[i]));
}
