// Numbers as small images: ink is black on white; where signs matter, blue is more than 0 and
// orange is less.
//   import {paintMap} from './paint.js';  paintMap(canvas, values, width, height, {signed: true})
const BLACK = [0, 0, 0];
const GRAY = [150, 150, 150];
const BLUE = [0, 114, 178];
const ORANGE = [213, 94, 0];

export function strongest(values) {
  let most = 1e-6;
  for (const v of values) most = Math.max(most, Math.abs(v));
  return most;
}

// All shades of a color, from white on: each as one number, in the order in which an image has it.
function shadesOf(color) {
  const shades = new Uint8ClampedArray(4*256).fill(255);
  for (let part = 0; part < 256; part++) {
    for (let k = 0; k < 3; k++) shades[4*part + k] = 255 + (color[k] - 255)*part/255;
  }
  return new Uint32Array(shades.buffer);
}

const [BLACKS, BLUES, ORANGES] = [BLACK, BLUE, ORANGE].map(shadesOf);

// Paint numbers into an image, each as a square of `zoom` pixels.
export function paintAt(image, values, width, left, top, zoom, {signed = false, high, low = 0}) {
  const pixels = new Uint32Array(image.data.buffer);
  const across = image.width;
  const scale = 255/(high - low);
  for (let y = 0; y*width < values.length; y++) {
    for (let x = 0; x < width; x++) {
      const v = values[y*width + x] - low;
      const shades = !signed ? BLACKS : v > 0 ? BLUES : ORANGES;
      const part = scale*(signed ? Math.abs(v) : Math.max(v, 0));
      const shade = shades[Math.min(255, Math.round(part))];
      const start = (top + y*zoom)*across + left + x*zoom;
      for (let row = 0; row < zoom; row++) {
        for (let column = 0; column < zoom; column++) pixels[start + row*across + column] = shade;
      }
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
