// What `images` and `mnist_form` of the library do, once more for browsers, under the same names:
// each function can be laid beside its twin. What OpenCV does for them is written out.
//   import {openImage, mnistForm} from './pixels.js';
// An image is {planes, width, height, corner, scale}: red, green and blue, each a Float32Array of
// 0…255; where it lies in its source, and pixels here for one of the source.
import {constants} from './settings.js';

const {WORK, SIDE, BOX, MIDDLE} = constants;

const clamp = (v, low, high) => Math.min(Math.max(v, low), high);

export function round(v) {  // halves to the even number, as Python does
  return Math.abs(v % 1) === .5 ? 2*Math.round(v/2) : Math.round(v);
}

export function range(n) {
  return [...Array(n).keys()];
}

export function sum(values) {
  return values.reduce((a, b) => a + b, 0);
}

export function quantile(sorted, q) {
  const at = q*(sorted.length - 1);
  const low = Math.floor(at);
  const next = sorted[Math.min(low + 1, sorted.length - 1)];
  return sorted[low] + (next - sorted[low])*(at - low);
}

function covered(from, to) {  // cv2.INTER_AREA: what each new pixel covers
  return range(to).map(i => {
    const start = i*from/to;
    const end = Math.min((i + 1)*from/to, from);
    const parts = [];
    for (let k = Math.floor(start); k < end; k++) {
      const length = Math.min(end, k + 1) - Math.max(start, k);
      if (length > 1e-3) parts.push({k, weight: length/(end - start)});
    }
    return parts;
  });
}

function between(from, to) {  // cv2.INTER_LINEAR: the two pixels whose centers are nearest
  return range(to).map(i => {
    const at = clamp((i + .5)*from/to - .5, 0, from - 1);
    const low = Math.floor(at);
    const next = Math.min(low + 1, from - 1);
    return [{k: low, weight: 1 - at + low}, {k: next, weight: at - low}];
  });
}

// What each new pixel is made of, all in one row: old pixels and their weights. Those of pixel i
// begin at ends[i - 1] and end before ends[i]. Beyond the edges, the last pixel is repeated.
function weights(from, to, first, columns) {
  const parts = to < from ? covered(from, to) : between(from, to);
  const flat = parts.flat();
  let count = 0;
  return {
    ends: Int32Array.from(parts, some => count += some.length),
    pixels: Int32Array.from(flat, ({k}) => clamp(first + k, 0, columns - 1)),
    parts: Float64Array.from(flat, ({weight}) => weight),
  };
}

export function resize(plane, columns, [left, top, w, h], width, height) {  // a part of a plane
  const across = weights(w, width, left, columns);
  const down = weights(h, height, top, plane.length/columns);
  const first = across.pixels[0];
  const last = across.pixels.at(-1);
  const row = new Float64Array(columns);
  const result = new Float32Array(width*height);
  let from = 0;
  for (let y = 0; y < height; y++) {
    row.fill(0, first, last + 1);
    for (; from < down.ends[y]; from++) {
      const start = down.pixels[from]*columns;
      const weight = down.parts[from];
      for (let x = first; x <= last; x++) row[x] += weight*plane[start + x];
    }
    let k = 0;
    for (let x = 0; x < width; x++) {
      let total = 0;
      for (; k < across.ends[x]; k++) total += across.parts[k]*row[across.pixels[k]];
      result[y*width + x] = total;
    }
  }
  return result;
}

export function resizeAll(planes, ...how) {  // of a gray image, all planes are one
  const done = new Map();
  for (const plane of planes) if (!done.has(plane)) done.set(plane, resize(plane, ...how));
  return planes.map(plane => done.get(plane));
}

function rotated(plane, width) {
  const height = plane.length/width;
  return plane.map((_, i) => plane[(i % height + 1)*width - 1 - Math.floor(i/height)]);
}

export function rot90({planes, width, height}, turns) {  // to the left
  if (!turns) return {planes, width, height};
  const once = {planes: planes.map(p => rotated(p, width)), width: height, height: width};
  return rot90(once, turns - 1);
}

export function boundingBox(places, width) {  // of pixels, named by their number
  let [left, top, right, bottom] = [Infinity, Infinity, 0, 0];
  for (const i of places) {
    const x = i % width;
    const y = (i - x)/width;
    left = Math.min(left, x);
    top = Math.min(top, y);
    right = Math.max(right, x + 1);
    bottom = Math.max(bottom, y + 1);
  }
  return places.length ? [left, top, right - left, bottom - top] : [0, 0, 0, 0];
}

export function components(map, width, level = .5) {  // the spots above; a pixel has four neighbors
  const open = new Uint8Array(map.length);
  for (let i = 0; i < map.length; i++) open[i] = map[i] > level;
  const found = [];
  for (let start = 0; start < open.length; start++) {
    if (!open[start]) continue;
    const spot = [];
    const add = k => {
      if (!open[k]) return;
      open[k] = 0;
      spot.push(k);
    };
    add(start);
    for (let n = 0; n < spot.length; n++) {  // it grows meanwhile
      const i = spot[n];
      if (i % width) add(i - 1);
      if (i % width < width - 1) add(i + 1);
      add(i - width);
      add(i + width);
    }
    found.push({box: boundingBox(spot, width), area: spot.length, places: spot});
  }
  return found;
}

export function above(values, level) {  // the numbers of the pixels that are
  const places = [];
  for (let i = 0; i < values.length; i++) if (values[i] > level) places.push(i);
  return places;
}

// images

function deviation(planes) {
  const n = planes.length*planes[0].length;
  const mean = sum(planes.map(sum))/n;
  const squares = planes.map(plane => plane.reduce((all, v) => all + (v - mean)**2, 0));
  return Math.sqrt(sum(squares)/n);
}

export function onPaper({data, width, height}) {  // what a canvas gives
  const place = {corner: [0, 0], scale: [1, 1]};
  const [r, g, b, alpha] = [0, 1, 2, 3].map(() => new Float32Array(width*height));
  const planes = [r, g, b];
  let opaque = true;
  let colored = false;
  for (let i = 0; i < alpha.length; i++) {
    r[i] = data[4*i];
    g[i] = data[4*i + 1];
    b[i] = data[4*i + 2];
    alpha[i] = data[4*i + 3]/255;
    opaque &&= alpha[i] > .99;
    colored ||= r[i] !== g[i] || r[i] !== b[i];
  }
  if (opaque) return {planes: colored ? planes : [r, r, r], width, height, ...place};
  const parts = components(alpha, width).sort((a, b) => b.area - a.area);
  const {box, area} = parts[0] ?? {box: [0, 0, 0, 0], area: 0};
  const [x, y, w, h] = box;
  if (area > .9*w*h && Math.min(w, h) > 4) {
    const piece = planes.map(plane => resize(plane, width, box, w, h));
    const cut = {planes: piece, width: w, height: h, ...place, corner: [x, y]};
    if (deviation(piece) > 12) return cut;
  }
  const laid = planes.map(plane => plane.map((v, i) => v*alpha[i]));
  const ink = sum(laid.map(sum))/Math.max(3*sum(alpha), 1);
  const paper = ink < 128 ? 255 : 0;
  const whole = laid.map(plane => plane.map((v, i) => v + paper*(1 - alpha[i])));
  return {planes: whole, width, height, ...place};
}

export async function openImage(blob) {
  const source = await createImageBitmap(blob, {imageOrientation: 'from-image'});
  const n = Math.max(1, Math.floor(Math.max(source.width, source.height)/WORK));
  const canvas = new OffscreenCanvas(Math.ceil(source.width/n), Math.ceil(source.height/n));
  const context = canvas.getContext('2d', {willReadFrequently: true});
  context.imageSmoothingQuality = 'high';
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  const image = onPaper(context.getImageData(0, 0, canvas.width, canvas.height));
  const scale = [canvas.width/source.width, canvas.height/source.height];
  return {...image, scale, corner: image.corner.map((at, k) => at/scale[k])};
}

export function inSource({corner: [left, top], scale: [across, down]}, [x, y, w, h]) {
  return [left + x/across, top + y/down, w/across, h/down].map(round);
}

export function gray({planes: [r, g, b]}) {
  if (r === g && r === b) return r;
  return r.map((v, i) => (v + g[i] + b[i])/3);
}

// mnist_form

function centerOfMass(ink, width) {
  const across = ink.reduce((all, v, i) => all + v*(i % width), 0);
  const down = ink.reduce((all, v, i) => all + v*Math.floor(i/width), 0);
  return [across/sum(ink), down/sum(ink)];
}

function centered(small, w, h) {
  const [x, y] = centerOfMass(small, w);
  const left = clamp(round(MIDDLE - x), 0, SIDE - w);
  const top = clamp(round(MIDDLE - y), 0, SIDE - h);
  const whole = new Uint8Array(SIDE*SIDE);
  small.forEach((v, i) => {
    whole[(top + Math.floor(i/w))*SIDE + left + i % w] = round(255*v);
  });
  return whole;
}

export function mnistForm(ink, width) {
  const top = ink.reduce((a, b) => Math.max(a, b), 0);
  if (top <= 0) return new Uint8Array(SIDE*SIDE);
  const box = boundingBox(above(ink, .5*top), width);
  const scale = BOX/Math.max(box[2], box[3]);
  const [w, h] = [box[2], box[3]].map(side => Math.max(1, round(side*scale)));
  const small = resize(ink, width, box, w, h);
  const full = quantile(small.filter(v => v > 0).sort(), .9);
  return centered(small.map(v => clamp(v/full, 0, 1)), w, h);
}

export function isMnist(image) {
  if (image.width !== SIDE || image.height !== SIDE) return false;
  const values = gray(image);
  const ink = above(values, 8);
  const longer = Math.max(...boundingBox(ink, SIDE).slice(2));
  if (Math.max(...values) < 150 || ink.length > .5*values.length) return false;
  if (longer < 18 || longer > 21) return false;
  return Math.max(...centerOfMass(values, SIDE).map(at => Math.abs(at - MIDDLE))) < 1.2;
}
