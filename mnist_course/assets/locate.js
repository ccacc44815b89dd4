// Finds the digits of an image in the browser: what `finder` and `locate` of the library do, under
// the same names. Constants are Python's, in the page's settings.
//   import {cutOut, locate, missed} from './locate.js';
// finder(Float32Array, [n, 3, h, w]) gives maps of half that size, as {data, dims}.
import {above, boundingBox, components, quantile, resizeAll, round, sum} from './pixels.js';
import {constants, remarks} from './settings.js';

const {CORE_WIDTH, CORE_HEIGHT, LEVELS, PART} = constants;
const {FIRST_LOOK, SECOND_LOOK, LARGEST_ZOOM, SHORTEST} = constants;
const {SMALL, GOOD, CLOSE_UP, ROOM, MAX_DIGITS, SAME} = constants;
const {MAYBE, TALL, APART} = constants;
const HALF = CLOSE_UP/2;

async function finderMaps(finder, views, width, height) {  // ink, cores, other writing of each
  const pixels = new Float32Array(views.length*3*width*height);
  views.flat().forEach((plane, k) => pixels.set(plane, k*width*height));
  const {data, dims} = await finder(pixels, [views.length, 3, height, width]);
  const size = dims[2]*dims[3];
  const map = k => data.subarray(k*size, (k + 1)*size);
  return views.map((_, k) => [map(3*k), map(3*k + 1), map(3*k + 2)]);
}

function divided(core, width, spot, level) {  // the large parts above a level, if there are several
  const [left, top, w, h] = spot.box;
  const higher = new Float32Array(w*h);
  for (const i of spot.places) {
    if (core[i] > level) higher[(Math.floor(i/width) - top)*w + i % width - left] = 1;
  }
  const parts = components(higher, w).filter(({area}) => area >= PART*spot.area);
  if (parts.length < 2) return [spot];
  return parts.map(({box: [x, y, ...size], area, places}) => ({
    box: [left + x, top + y, ...size],
    area,
    places: places.map(i => (top + Math.floor(i/w))*width + left + i % w),
  }));
}

function meanAt(values, places) {
  return sum(places.map(i => values[i]))/places.length;
}

function findCores(core, width, smallest = 6) {
  let spots = components(core, width);
  for (const level of LEVELS) spots = spots.flatMap(spot => divided(core, width, spot, level));
  return spots.filter(({box: [, , w, h]}) => 2*Math.max(w, h) >= smallest)
    .map(({box: [x, y, w, h], places}) => ({
      x: 2*x + w,
      y: 2*y + h,
      w: 2*w/CORE_WIDTH,
      h: 2*h/CORE_HEIGHT,
      confidence: meanAt(core, places),
    }));
}

// locate

async function lookAt(finder, {planes, width: w, height: h}, longest) {  // `look` of locate
  const longer = Math.max(w, h);
  const shortest = Math.min(SHORTEST/Math.min(w, h), SECOND_LOOK/longer);
  const scale = Math.min(Math.max(longest/longer, shortest), LARGEST_ZOOM);
  const [width, height] = [w, h].map(side => Math.max(16, round(side*scale)));
  const small = resizeAll(planes, w, [0, 0, w, h], width, height);
  const [[ink, core, other]] = await finderMaps(finder, [small], width, height);
  const columns = Math.ceil(width/2);
  const [across, down] = [w/width, h/height];
  const cores = findCores(core, columns)
    .map(c => ({...c, x: c.x*across, y: c.y*down, w: c.w*across, h: c.h*down}));
  const parts = (marked, level) => components(marked, columns, level).filter(({area}) => area >= 3)
    .map(({box: [x, y, w, h]}) => [2*across*x, 2*down*y, 2*across*w, 2*down*h]);
  return {cores, scale, inkParts: () => parts(ink, MAYBE), signs: () => parts(other, .5)};
}

export function missed(ink, boxes) {  // what may be a digit and was not read
  if (!boxes.length) return [];
  const tall = TALL*quantile(Float64Array.from(boxes, ([, , , h]) => h).sort(), .5);
  return ink.filter(part => part[3] > tall && boxes.every(box => shared(part, box) < APART));
}

export async function locate(finder, image) {
  const first = await lookAt(finder, image, FIRST_LOOK);
  const sizes = Float64Array.from(first.cores, c => Math.max(c.w, c.h)*first.scale).sort();
  const size = sizes.length ? quantile(sizes, .5) : SMALL/2;
  const largest = Math.min(SECOND_LOOK, Math.max(image.width, image.height));
  let best = first;
  if (size < SMALL && largest >= FIRST_LOOK*1.2) {
    const closer = await lookAt(finder, image, Math.min(largest, FIRST_LOOK*GOOD/size));
    if (closer.cores.length >= first.cores.length) best = closer;
  }
  if (best.cores.length > MAX_DIGITS) throw new Error(remarks.crowded);
  return best;
}

function closeUp({planes, width}, core) {
  const side = Math.max(8, round(ROOM*Math.max(core.w, core.h)));
  const place = [round(core.x - side/2), round(core.y - side/2), side, side];
  return {view: resizeAll(planes, width, place, CLOSE_UP, CLOSE_UP), place};
}

function distance(core, x, y) {  // .5 is the edge of its digit
  return Math.hypot((x - core.x)/core.w, (y - core.y)/core.h);
}

function sameDigit(a, b) {
  return Math.min(distance(a, b.x, b.y), distance(b, a.x, a.y)) < .5;
}

function ownInk(ink, core, own, others) {  // each pixel belongs to the nearest digit
  const rivals = others.filter(c => !sameDigit(c, own));
  const seen = findCores(core, HALF, 10).filter(c => !rivals.some(r => sameDigit(c, r)));
  const mine = seen.filter(c => sameDigit(c, own));
  const foreign = [...seen.filter(c => !mine.includes(c)), ...rivals];
  if (!mine.length) mine.push(own);
  const sure = Math.max(...mine.map(c => c.confidence));
  if (!foreign.length) return [ink, sure];
  const owned = ink.map((v, i) => {
    const x = 2*(i % HALF) + 1;
    const y = 2*Math.floor(i/HALF) + 1;
    const nearest = cores => Math.min(...cores.map(c => distance(c, x, y)));
    return nearest(mine) <= nearest(foreign) ? v : 0;
  });
  return [owned, sure];
}

function inCloseUp(core, [left, top, side]) {
  const zoom = CLOSE_UP/side;
  const [x, y] = [(core.x - left)*zoom, (core.y - top)*zoom];
  return {...core, x, y, w: core.w*zoom, h: core.h*zoom};
}

function shared([ax, ay, aw, ah], [bx, by, bw, bh]) {  // of the smaller box, in the other
  const w = Math.min(ax + aw, bx + bw) - Math.max(ax, bx);
  const h = Math.min(ay + ah, by + bh) - Math.max(ay, by);
  return Math.max(w, 0)*Math.max(h, 0)/Math.max(Math.min(aw*ah, bw*bh), 1e-6);
}

export async function cutOut(finder, image, cores) {  // the ink of each digit, the largest first
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
      const [own, confidence] = ownInk(ink, core, inCloseUp(middle, place), others);
      const unit = side/HALF;
      const places = above(own, .5);
      const [x, y, w, h] = boundingBox(places, HALF);
      const box = [left + x*unit, top + y*unit, w*unit, h*unit];
      if (places.length < 8) return;
      found.push({ink: own, box, confidence: confidence*meanAt(own, places)});
    });
  }
  found.sort((a, b) => b.box[2]*b.box[3] - a.box[2]*a.box[3]);
  const kept = [];
  for (const digit of found) {
    if (kept.every(other => shared(digit.box, other.box) < SAME)) kept.push(digit);
  }
  return kept;
}
