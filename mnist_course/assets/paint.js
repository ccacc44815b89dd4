// Numbers as small images: ink is black on white; where signs matter, blue is more than 0 and
// orange is less.
//   import {paintMap} from './paint.js';  paintMap(canvas, values, width, height, {signed: true})
const BLACK = [0, 0, 0];
const GRAY = [150, 150, 150];
const BLUE = [0, 114, 178];
const ORANGE = [213, 94, 0];

export function strongest(values) {
  return values.reduce((most, v) => Math.max(most, Math.abs(v)), 1e-6);
}

// Paint numbers into an image, each as a square of `zoom` pixels.
export function paintAt(image, values, width, left, top, zoom, {signed = false, high, low = 0}) {
  for (let i = 0; i < values.length; i++) {
    const v = signed ? values[i] : values[i] - low;
    const color = !signed ? BLACK : v > 0 ? BLUE : ORANGE;
    const part = Math.min(1, (signed ? Math.abs(v) : Math.max(v, 0))/(high - low));
    const [x, y] = [left + i % width*zoom, top + Math.floor(i/width)*zoom];
    for (let pixel = 0; pixel < zoom*zoom; pixel++) {
      const at = 4*((y + Math.floor(pixel/zoom))*image.width + x + pixel % zoom);
      for (let k = 0; k < 3; k++) image.data[at + k] = 255 + (color[k] - 255)*part;
    }
  }
}

export function asImage(values, width, height, how = {}) {
  const image = new ImageData(width, height);
  image.data.fill(255);
  paintAt(image, values, width, 0, 0, 1, {high: strongest(values), ...how});
  return image;
}

export function paintMap(canvas, values, width, height, how) {
  Object.assign(canvas, {width, height});
  canvas.getContext('2d').putImageData(asImage(values, width, height, how), 0, 0);
}

// Where a part is covered by paper and the score drops: blue; where it rises: orange.
export function paintOcclusion(canvas, pixels, {square, corners, drops}) {
  const heat = new Float32Array(28*28);
  const count = new Float32Array(28*28);
  corners.forEach((top, row) => corners.forEach((left, column) => {
    for (let i = 0; i < square*square; i++) {
      const at = 28*(top + Math.floor(i/square)) + left + i % square;
      heat[at] += drops[row][column];
      count[at] += 1;
    }
  }));
  const mean = heat.map((v, i) => v/count[i]);
  // below 1, what the colors would show is rounding
  const image = asImage(mean, 28, 28, {signed: true, high: Math.max(1, strongest(mean))});
  pixels.forEach((ink, i) => {  // the digit, as a shadow
    for (let k = 0; k < 3; k++) image.data[4*i + k] *= 1 - .45*ink/255;
  });
  Object.assign(canvas, {width: 28, height: 28});
  canvas.getContext('2d').putImageData(image, 0, 0);
}

// What the finder sees: ink of digits in blue, their middles in orange, other writing in gray.
export function paintFinder(canvas, {ink, cores, other, width, height}) {
  const image = new ImageData(width, height);
  image.data.fill(255);
  for (const [color, map, most] of [[GRAY, other, 1], [BLUE, ink, 1], [ORANGE, cores, .7]]) {
    for (let i = 0; i < width*height; i++) {
      for (let k = 0; k < 3; k++) {
        const before = image.data[4*i + k];
        image.data[4*i + k] = before + (color[k] - before)*most*map[i]/255;
      }
    }
  }
  Object.assign(canvas, {width, height});
  canvas.getContext('2d').putImageData(image, 0, 0);
}
