// Reads the digits of any image in the browser: what `finder`, `locate` and `inference` of the
// library do, under the same names. Constants and sentences are Python's, in the page's settings.
//   import {predict, readNumber} from './reader.js';
//   await readNumber(image, finder, model)   rows of {digit, confidence, probs, warning, box, …}
// finder(Float32Array, [n, 3, h, w]) gives maps of half that size, as {data, dims};
// model(Uint8Array, [n, 28, 28]) gives probabilities, in the same way.
import {above, boundingBox, components, gray, inSource, isMnist, mnistForm} from './pixels.js';
import {quantile, range, resize, rot90, round, sum} from './pixels.js';

const {constants, remarks, doubt} = JSON.parse(document.getElementById('settings').textContent);
const {CORE_WIDTH, CORE_HEIGHT, FIRST_LOOK, SECOND_LOOK, LARGEST_ZOOM, SHORTEST} = constants;
const {SMALL, GOOD, CLOSE_UP, ROOM, MOST, SAME, SIDE, FAINT} = constants;
const {CERTAIN, GUESS, UPRIGHT} = constants;
const HALF = CLOSE_UP/2;

function fill(sentence, values) {
  return sentence.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

// finder

async function finderMaps(finder, views, width, height) {  // ink, cores, other writing of each
  const pixels = new Float32Array(views.length*3*width*height);
  views.flat().forEach((plane, k) => pixels.set(plane, k*width*height));
  const {data, dims} = await finder(pixels, [views.length, 3, height, width]);
  const size = dims[2]*dims[3];
  const map = k => data.subarray(k*size, (k + 1)*size);
  return views.map((_, k) => [map(3*k), map(3*k + 1), map(3*k + 2)]);
}

function findCores(core, width, smallest = 6) {
  return components(core, width).map(({box}) => box)
    .filter(([, , w, h]) => 2*Math.max(w, h) >= smallest)
    .map(([x, y, w, h]) => ({x: 2*x + w, y: 2*y + h, w: 2*w/CORE_WIDTH, h: 2*h/CORE_HEIGHT}));
}

// locate

async function lookAt(finder, {planes, width: w, height: h}, longest) {  // `look` of locate
  const longer = Math.max(w, h);
  const shortest = Math.min(SHORTEST/Math.min(w, h), SECOND_LOOK/longer);
  const scale = Math.min(Math.max(longest/longer, shortest), LARGEST_ZOOM);
  const [width, height] = [w, h].map(side => Math.max(16, round(side*scale)));
  const small = planes.map(plane => resize(plane, w, [0, 0, w, h], width, height));
  const [[, core, other]] = await finderMaps(finder, [small], width, height);
  const columns = Math.ceil(width/2);
  const [across, down] = [w/width, h/height];
  const cores = findCores(core, columns)
    .map(c => ({x: c.x*across, y: c.y*down, w: c.w*across, h: c.h*down}));
  const signs = components(other, columns).filter(({area}) => area >= 3)
    .map(({box: [x, y, w, h]}) => [2*across*x, 2*down*y, 2*across*w, 2*down*h]);
  return {cores, signs, scale};
}

async function locate(finder, image) {
  const first = await lookAt(finder, image, FIRST_LOOK);
  const sizes = Float64Array.from(first.cores, c => Math.max(c.w, c.h)*first.scale).sort();
  const size = sizes.length ? quantile(sizes, .5) : SMALL/2;
  const largest = Math.min(SECOND_LOOK, Math.max(image.width, image.height));
  if (size >= SMALL || largest < FIRST_LOOK*1.2) return first;
  const closer = await lookAt(finder, image, Math.min(largest, FIRST_LOOK*GOOD/size));
  const best = closer.cores.length >= first.cores.length ? closer : first;
  if (best.cores.length > MOST) throw new Error(remarks.crowded);
  return best;
}

function closeUp({planes, width}, core) {
  const side = Math.max(8, round(ROOM*Math.max(core.w, core.h)));
  const place = [round(core.x - side/2), round(core.y - side/2), side, side];
  return {view: planes.map(p => resize(p, width, place, CLOSE_UP, CLOSE_UP)), place};
}

function distance(core, x, y) {  // .5 is the edge of its digit
  return Math.hypot((x - core.x)/core.w, (y - core.y)/core.h);
}

function sameDigit(a, b) {
  return Math.min(distance(a, b.x, b.y), distance(b, a.x, a.y)) < .5;
}

function ownInk(ink, core, own, others) {  // each pixel belongs to the nearest digit
  const seen = findCores(core, HALF, 10);
  const mine = seen.filter(c => sameDigit(c, own));
  const foreign = seen.filter(c => !mine.includes(c));
  foreign.push(...others.filter(c => !seen.some(s => sameDigit(c, s))));
  if (!mine.length) mine.push(own);
  return ink.map((v, i) => {
    const x = 2*(i % HALF) + 1;
    const y = 2*Math.floor(i/HALF) + 1;
    const nearest = cores => Math.min(...cores.map(c => distance(c, x, y)));
    return nearest(mine) <= nearest(foreign) ? v : 0;
  });
}

function inCloseUp(core, [left, top, side]) {
  const zoom = CLOSE_UP/side;
  return {x: (core.x - left)*zoom, y: (core.y - top)*zoom, w: core.w*zoom, h: core.h*zoom};
}

function shared([ax, ay, aw, ah], [bx, by, bw, bh]) {  // of the smaller box, in the other
  const w = Math.min(ax + aw, bx + bw) - Math.max(ax, bx);
  const h = Math.min(ay + ah, by + bh) - Math.max(ay, by);
  return Math.max(w, 0)*Math.max(h, 0)/Math.max(Math.min(aw*ah, bw*bh), 1e-6);
}

async function cutOut(finder, image, cores) {  // the ink of each digit, the largest first
  const found = [];
  for (let start = 0; start < cores.length; start += 16) {
    const closeUps = cores.slice(start, start + 16).map(core => closeUp(image, core));
    const maps = await finderMaps(finder, closeUps.map(({view}) => view), CLOSE_UP, CLOSE_UP);
    maps.forEach(([ink, core], k) => {
      const {place} = closeUps[k];
      const [left, top, side] = place;
      const middle = cores[start + k];
      const near = c => Math.max(Math.abs(c.x - middle.x), Math.abs(c.y - middle.y)) < side;
      const others = cores.filter(c => c !== middle && near(c)).map(c => inCloseUp(c, place));
      const own = ownInk(ink, core, inCloseUp(middle, place), others);
      const unit = side/HALF;
      const places = above(own, .5);
      const [x, y, w, h] = boundingBox(places, HALF);
      const box = [left + x*unit, top + y*unit, w*unit, h*unit];
      if (places.length >= 8) found.push({ink: own, box});
    });
  }
  found.sort((a, b) => b.box[2]*b.box[3] - a.box[2]*a.box[3]);
  const kept = [];
  for (const digit of found) {
    if (kept.every(other => shared(digit.box, other.box) < SAME)) kept.push(digit);
  }
  return kept;
}

// inference

function touchesEdge([x, y, w, h], {width, height}) {
  const margin = .01*Math.max(width, height);
  return Math.min(x, y) < margin || x + w > width - margin || y + h > height - margin;
}

function isFaint(image) {
  const values = gray(image).sort();
  return quantile(values, .998) - quantile(values, .002) < FAINT;
}

async function look(image, finder) {  // `look` of inference: the largest digit
  if (isMnist(image)) {
    const values = gray(image);
    const box = inSource(image, boundingBox(above(values, 8), SIDE));
    return {pixels: Uint8Array.from(values, round), box, remark: null};
  }
  const digits = await cutOut(finder, image, (await locate(finder, image)).cores);
  if (!digits.length) {
    const remark = isFaint(image) ? remarks.blank : remarks.nothing;
    return {pixels: new Uint8Array(SIDE*SIDE), box: null, remark};
  }
  const [{ink, box}] = digits;
  const longer = ([, , w, h]) => Math.max(w, h);
  const count = digits.filter(digit => longer(digit.box) > .45*longer(box)).length;
  let remark = null;
  if (count > 1) remark = fill(remarks.several, {count});
  else if (isFaint(image)) remark = remarks.faint;
  const cut = touchesEdge(box, image);
  return {pixels: mnistForm(ink, HALF), box: inSource(image, box), remark, cut};
}

function doubts(probs, cut) {
  const [first, second] = range(probs.length).sort((a, b) => probs[b] - probs[a]);
  if (probs[first] < (doubt ?? GUESS)) {
    const two = doubt === null || probs[first] + probs[second] > GUESS;
    return two ? fill(remarks.unsure, {first, second}) : remarks.strange;
  }
  return cut && probs[first] < CERTAIN ? remarks.cut : null;
}

async function predictProbs(model, images) {
  const pixels = new Uint8Array(images.length*SIDE*SIDE);
  images.forEach((image, k) => pixels.set(image, k*SIDE*SIDE));
  const {data, dims} = await model(pixels, [images.length, SIDE, SIDE]);
  return images.map((_, k) => [...data.subarray(k*dims[1], (k + 1)*dims[1])]);
}

async function classify(seen, model) {
  const all = seen.length ? await predictProbs(model, seen.map(({pixels}) => pixels)) : [];
  return all.map((probs, k) => {
    const {pixels, box, remark, cut} = seen[k];
    const confidence = Math.max(...probs);
    const warning = remark ?? doubts(probs, cut);
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

async function orientation(digits, model) {
  if (digits.length < 3) return 0;
  const confidences = [];
  for (const turns of range(4)) {
    const images = digits.map(({ink}) => {
      const {planes} = rot90({planes: [ink], width: HALF, height: HALF}, turns);
      return mnistForm(planes[0], HALF);
    });
    const probs = await predictProbs(model, images);
    const logs = probs.map(some => Math.log(Math.max(...some)));
    confidences.push(sum(logs)/logs.length + (turns ? 0 : UPRIGHT));
  }
  return confidences.indexOf(Math.max(...confidences));
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
  let {cores, signs} = await locate(finder, page);
  let digits = await cutOut(finder, page, cores);
  const turns = await orientation(digits, model);
  if (turns) {  // look again, now that the page is upright
    page = rot90(image, turns);
    ({cores, signs} = await locate(finder, page));
    digits = await cutOut(finder, page, cores);
  }
  const seen = digits.map(({ink, box}) => ({
    pixels: mnistForm(ink, HALF),
    box: inSource(image, turned(box, (4 - turns) % 4, page)),
    cut: touchesEdge(box, page),
  }));
  const answers = await classify(seen, model);
  answers.forEach((answer, i) => {
    if (turns) answer.warning ??= remarks.turned;
    else if (besideASign(digits[i].box, signs)) answer.warning ??= remarks.beside;
  });
  return inRows(digits.map(({box}) => box)).map(row => row.map(i => answers[i]));
}
