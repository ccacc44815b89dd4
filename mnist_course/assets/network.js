// A network computed layer by layer, in plain JavaScript, so that every number can be shown.
//   import {createNetwork} from './network.js';
//   const {layers, blocks, run} = createNetwork(await engine.network());
//   const maps = run(pixels);   maps[k]: the numbers of layers[k], in one row
// A layer is what `layer_chain` of the library gives; `layers` is null for a network that is no
// chain of layers. A linear layer is a convolution with a kernel as large as its maps.

function patches(values, {inputs, size, stride, padding, shape}, side) {
  const [, height, width] = shape;
  const row = inputs*size*size;  // the numbers in one window
  const all = new Float64Array(row*height*width);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let at = row*(y*width + x);
      for (let map = 0; map < inputs; map++) {
        for (let dy = 0; dy < size; dy++) {
          const fromY = y*stride - padding + dy;
          for (let dx = 0; dx < size; dx++, at++) {
            const fromX = x*stride - padding + dx;
            if (fromX < 0 || fromY < 0 || fromX >= side || fromY >= side) continue;  // 0 beyond
            all[at] = values[(map*side + fromY)*side + fromX];
          }
        }
      }
    }
  }
  return all;
}

function convolve(values, layer, side) {
  const {inputs, size, shape, weights, biases} = layer;
  const [outputs, height, width] = shape;
  const row = inputs*size*size;
  const places = height*width;
  const windows = patches(values, layer, side);
  const sums = new Float32Array(outputs*places);
  for (let out = 0; out < outputs; out += 4) {  // four at a time: each window is read once
    const [a, b, c, d] = [0, 1, 2, 3].map(k => row*Math.min(out + k, outputs - 1));
    for (let place = 0; place < places; place++) {
      let [sumA, sumB, sumC, sumD] = [0, 0, 0, 0];
      const window = row*place;
      for (let k = 0; k < row; k++) {
        const v = windows[window + k];
        sumA += v*weights[a + k];
        sumB += v*weights[b + k];
        sumC += v*weights[c + k];
        sumD += v*weights[d + k];
      }
      [sumA, sumB, sumC, sumD].slice(0, outputs - out).forEach((sum, k) => {
        sums[places*(out + k) + place] = sum + biases[out + k];
      });
    }
  }
  return sums;
}

function pool(values, {size, shape: [maps, height, width]}, side) {
  const largest = new Float32Array(maps*height*width).fill(-Infinity);
  for (let map = 0; map < maps; map++) {
    for (let y = 0; y < height*size; y++) {
      for (let x = 0; x < width*size; x++) {
        const to = (map*height + Math.floor(y/size))*width + Math.floor(x/size);
        largest[to] = Math.max(largest[to], values[(map*side + y)*side + x]);
      }
    }
  }
  return largest;
}

function normalize(values, {factors, summands, shape: [, height, width]}) {
  return values.map((v, i) => {
    const map = Math.floor(i/(height*width));
    return v*factors[map] + summands[map];
  });
}

const COMPUTE = {
  pixels: (pixels, {mean, std}) => Float32Array.from(pixels, v => (v/255 - mean)/std),
  convolution: convolve,
  linear: convolve,
  pooling: pool,
  normalization: normalize,
  relu: values => values.map(v => Math.max(v, 0)),
};

export const isSum = ({kind}) => kind === 'convolution' || kind === 'linear';

function withNumbers(layers, numbers) {  // each layer gets its own part
  let used = 0;
  const take = count => Float64Array.from(numbers.subarray(used, used += count));
  return layers.map(layer => {
    const [maps] = layer.shape;
    if (isSum(layer)) {
      const weights = take(maps*layer.inputs*layer.size**2);
      return {...layer, weights, biases: take(maps)};
    }
    if (layer.kind !== 'normalization') return layer;
    return {...layer, factors: take(maps), summands: take(maps)};
  });
}

// A block is a layer that adds up products, and what follows it: pooling, normalization, ReLU.
function blocksOf(layers) {
  const starts = layers.map((_, k) => k).filter(k => isSum(layers[k]));
  return starts.map((sums, k) => ({sums, result: (starts[k + 1] ?? layers.length) - 1}));
}

export function createNetwork({layers: described, numbers}) {
  const layers = withNumbers(described, numbers);
  const sideBefore = k => layers[k - 1].shape[2];

  function run(pixels) {
    const all = [];
    layers.forEach((layer, k) => {
      all.push(COMPUTE[layer.kind](k ? all[k - 1] : pixels, layer, k ? sideBefore(k) : 28));
    });
    return all;
  }

  function kernelOf(k, input, output) {
    const {size, inputs, weights} = layers[k];
    const start = (output*inputs + input)*size*size;
    return weights.subarray(start, start + size*size);
  }

  // What one map gives to another: its part of each sum.
  function share(maps, k, input, output) {
    const {size, stride, padding, shape: [, height, width]} = layers[k];
    const side = sideBefore(k);
    const from = maps[k - 1].subarray(input*side*side, (input + 1)*side*side);
    const kernel = kernelOf(k, input, output);
    const shape = [1, height, width];
    const one = {inputs: 1, size, stride, padding, shape, weights: kernel, biases: [0]};
    return convolve(from, one, side);
  }

  // One sum in full: the window of one map, the kernel and their products; what other maps add.
  function sumAt(maps, k, input, output, x, y) {
    const {size, stride, padding, biases, shape: [, height, width]} = layers[k];
    const side = sideBefore(k);
    const [left, top] = [x*stride - padding, y*stride - padding];
    const kernel = [...kernelOf(k, input, output)];
    const window = kernel.map((_, i) => {
      const [fromX, fromY] = [left + i % size, top + Math.floor(i/size)];
      const outside = Math.min(fromX, fromY) < 0 || Math.max(fromX, fromY) >= side;
      return outside ? 0 : maps[k - 1][(input*side + fromY)*side + fromX];
    });
    const products = window.map((v, i) => v*kernel[i]);
    const sum = products.reduce((a, b) => a + b, 0);
    const total = maps[k][(output*height + y)*width + x];
    const bias = biases[output];
    return {left, top, window, kernel, products, sum, bias, others: total - sum - bias, total};
  }

  return {layers, blocks: blocksOf(layers), run, share, kernelOf, sumAt};
}
