// From a drawing to the 28 × 28 that the network knows: crop, box, centre of mass, as in `preprocess` of 08_inference, step by step, for the
// simplest of all pictures: dark strokes on white, all of one digit. (A photograph needs far more than this: the library, on a server.)
//   import {seen} from './digit.js';  seen(context.getImageData(0, 0, 280, 280))   a Uint8Array of 28*28, ink 255 on 0; null for a blank pad
const THIN = 2.2;  // pixels of 28: thinner strokes are thickened to this

function round(v) { return v%1 === .5 ? 2*Math.round(v/2) : Math.round(v); }  // halves to the even number, as Python does

function quantile(values, share) {
  const sorted = Float32Array.from(values).sort(), at = share*(sorted.length - 1), low = Math.floor(at);
  return sorted[low] + (sorted[Math.min(low + 1, sorted.length - 1)] - sorted[low])*(at - low);
}

function blurred(a, w, h, sigma) {  // a Gaussian, seven pixels wide; edges are mirrored
  const bell = [-3, -2, -1, 0, 1, 2, 3].map(d => Math.exp(-d*d/2/sigma/sigma)), total = bell.reduce((x, y) => x + y);
  const mirror = (i, n) => i < 0 ? -i : i >= n ? 2*n - 2 - i : i;
  const across = new Float32Array(w*h), both = new Float32Array(w*h);
  const add = (to, from, step) => {
    for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) {
      let sum = 0;
      for (let d = -3; d <= 3; d++) sum += from[step(x, y, d)]*bell[d + 3];
      to[y*w + x] = sum/total;
    }
  };
  add(across, a, (x, y, d) => y*w + mirror(x + d, w));
  add(both, across, (x, y, d) => mirror(y + d, h)*w + x);
  return both;
}

function otsu(ink, top) {  // the threshold, of 255, that parts the pixels best into two classes
  const counts = new Float64Array(256);
  for (const v of ink) counts[Math.min(255, Math.floor(v/top*255))]++;
  const mean = counts.reduce((sum, n, v) => sum + n*v, 0)/ink.length;
  let best = 0, cut = 0, below = 0, sum = 0;
  for (let v = 0; v < 256; v++) {
    below += counts[v]/ink.length;
    sum += v*counts[v]/ink.length;
    if (below < 1e-6 || below > 1 - 1e-6) continue;
    const between = (mean*below - sum)**2/below/(1 - below);
    if (between > best) [best, cut] = [between, v];
  }
  return cut;
}

function strokeWidth(mask, w, h) {  // four times the mean distance of ink from the edge of its stroke, counted in steps of a king and a knight
  const W = w + 4, d = new Float32Array(W*(h + 4));
  for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) if (mask[y*w + x]) d[(y + 2)*W + x + 2] = 1e6;
  const steps = [[-1, 1], [-W, 1], [-W - 1, 1.4], [-W + 1, 1.4], [-2*W - 1, 2.1969], [-2*W + 1, 2.1969], [-W - 2, 2.1969], [-W + 2, 2.1969]];
  for (let i = 2*W; i < d.length - 2*W; i++) if (d[i]) for (const [by, cost] of steps) d[i] = Math.min(d[i], d[i + by] + cost);
  for (let i = d.length - 2*W - 1; i >= 2*W; i--) if (d[i]) for (const [by, cost] of steps) d[i] = Math.min(d[i], d[i - by] + cost);
  const inside = d.filter(v => v > 0);
  return 4*(inside.reduce((x, y) => x + y, 0)/inside.length - .5);
}

function boxOf(mask, w) {
  let [left, top, right, bottom] = [1e9, 1e9, -1, -1];
  mask.forEach((on, i) => {
    if (!on) return;
    const x = i%w, y = Math.floor(i/w);
    [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x + 1), Math.max(bottom, y + 1)];
  });
  return [left, top, right - left, bottom - top];
}

function thickened(a, w, h, r) {  // each pixel takes the darkest within an ellipse around it
  const rows = Array.from({length: 2*r + 1}, (_, i) => Math.round(r*Math.sqrt((r*r - (i - r)**2)/(r*r))));
  const W = w + 2*r, H = h + 2*r, wide = new Float32Array(W*H);
  for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) {
    const v = a[y*w + x];
    if (v > 0) rows.forEach((reach, i) => { for (let dx = -reach; dx <= reach; dx++) {
      const at = (y + i)*W + x + r + dx;
      if (v > wide[at]) wide[at] = v;
    } });
  }
  return [wide, W, H];
}

function shrunk(a, w, h, W, H) {  // each pixel of the result is the mean of the area that it covers
  const weights = (n, N) => Array.from({length: N}, (_, i) => {
    const from = i*n/N, to = (i + 1)*n/N, parts = [];
    for (let k = Math.floor(from); k < Math.min(n, Math.ceil(to - 1e-9)); k++) parts.push([k, (Math.min(to, k + 1) - Math.max(from, k))*N/n]);
    return parts;
  });
  const small = new Float32Array(W*H), columns = weights(w, W);
  weights(h, H).forEach((rows, Y) => columns.forEach((parts, X) => {
    for (const [y, down] of rows) for (const [x, across] of parts) small[Y*W + X] += a[y*w + x]*down*across;
  }));
  return small;
}

function centred(small, w, h) {  // the centre of mass in the middle of 28 × 28
  let [mass, across, down] = [0, 0, 0];
  small.forEach((v, i) => { mass += v; across += v*(i%w); down += v*Math.floor(i/w); });
  const left = Math.min(Math.max(round(14 - across/mass), 0), 28 - w), top = Math.min(Math.max(round(14 - down/mass), 0), 28 - h);
  const whole = new Uint8Array(28*28);
  small.forEach((v, i) => { whole[(top + Math.floor(i/w))*28 + left + i%w] = round(255*v); });
  return whole;
}

export function seen({data, width: w, height: h}) {
  const raw = Float32Array.from({length: w*h}, (_, i) => 255 - data[4*i]);  // black strokes: one of the three colours is enough
  const ink = blurred(raw, w, h, Math.max(.6, Math.min(w, h)/400));
  const top = quantile(ink, .998);
  if (top < 4) return null;
  const cut = Math.min(140, Math.max(40, otsu(ink, top)))/255*top;
  const strong = .35*quantile(ink.filter(v => v > .6*top), .7);
  const digit = Uint8Array.from(ink, v => v > Math.max(cut, strong));
  const level = quantile(ink.filter((_, i) => digit[i]), .7), floor = .15*level;

  const [left, upper, boxW, boxH] = boxOf(digit, w);
  let soft = new Float32Array(boxW*boxH), width = boxW, height = boxH;
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
    const at = (upper + y)*w + left + x;
    let near = false;
    for (let dy = -1; dy <= 1; dy++) for (let dx = -1; dx <= 1; dx++) {
      const nx = left + x + dx, ny = upper + y + dy;
      near ||= nx >= 0 && nx < w && ny >= 0 && ny < h && digit[ny*w + nx];
    }
    if (near) soft[y*width + x] = Math.min(1, Math.max(0, (ink[at] - floor)/(level - floor)));
  }
  let scale = 20/Math.max(width, height);
  const lacks = (THIN - strokeWidth(digit, w, h)*scale)/2/scale;
  if (lacks > 0) [soft, width, height] = thickened(soft, width, height, Math.max(1, round(lacks)));
  scale = 20/Math.max(width, height);
  const W = Math.max(1, round(width*scale)), H = Math.max(1, round(height*scale));
  const small = shrunk(soft, width, height, W, H), full = Math.max(quantile(small.filter(v => v > 0), .9), 1e-6);
  return centred(small.map(v => Math.min(1, v/full)), W, H);
}
