// A network computed layer by layer, in plain JavaScript, so that every number can be shown.
//   import {createNetwork} from './network.js';
//   const {layers, blocks, run} = createNetwork(await engine.network());
//   const maps = run(pixels);   maps[k]: the numbers of layers[k], in one row
// A layer is what `layer_chain` of the library gives; `layers` is null for a network that is no
// chain of layers. A linear layer is a convolution with a kernel as large as its maps.

// The window at each place, without the numbers that are 0: after ReLU most are, and add nothing.
// What is left is in one row, with the number of the weight that it meets; `ends` says where the
// window of a place ends.
function windowsOf(values, {inputs, size, stride, padding, shape: [, height, width]}, side) {
  const found = new Float64Array(height*width*inputs*size*size);
  const weights = new Int32Array(found.length);
  const ends = new Int32Array(height*width);
  let count = 0;
  for (let place = 0; place < height*width; place++) {
    const left = place % width*stride - padding;
    const top = Math.floor(place/width)*stride - padding;
    const [fromX, toX] = [Math.max(left, 0), Math.min(left + size, side)];
    const [fromY, toY] = [Math.max(top, 0), Math.min(top + size, side)];
    for (let map = 0; map < inputs; map++) {
      for (let y = fromY; y < toY; y++) {
        for (let x = fromX; x < toX; x++) {
          const v = values[(map*side + y)*side + x];
          if (v === 0) continue;
          found[count] = v;
          weights[count++] = (map*size + y - top)*size + x - left;
        }
      }
    }
    ends[place] = count;
  }
  return {found, weights, ends};
}

// Each number of a window times its weight, added up: for four kernels at a time, which is faster.
function convolve(values, layer, side) {
  const {inputs, size, shape: [outputs, height, width], fours, biases} = layer;
  const {found, weights, ends} = windowsOf(values, layer, side);
  const sums = new Float32Array(outputs*height*width);
  for (let output = 0; output < outputs; output += 4) {
    const four = fours.subarray(output*inputs*size*size);
    let i = 0;
    for (let place = 0; place < height*width; place++) {
      let [a, b, c, d] = [0, 0, 0, 0];
      for (; i < ends[place]; i++) {
        const v = found[i];
        const at = 4*weights[i];
        a += v*four[at];
        b += v*four[at + 1];
        c += v*four[at + 2];
        d += v*four[at + 3];
      }
      const last = Math.min(4, outputs - output);
      for (let k = 0; k < last; k++) {
        sums[(output + k)*height*width + place] = [a, b, c, d][k] + biases[output + k];
      }
    }
  }
  return sums;
}

// The weights of four kernels side by side, then those of the next four; what is missing is 0.
function inFours(weights, outputs) {
  const size = weights.length/outputs;
  const fours = new Float64Array(Math.ceil(outputs/4)*4*size);
  for (let output = 0; output < outputs; output++) {
    const start = (output - output % 4)*size + output % 4;
    for (let k = 0; k < size; k++) fours[start + 4*k] = weights[output*size + k];
  }
  return fours;
}

function pool(values, {size, shape: [maps, height, width]}, side) {
  const largest = new Float32Array(maps*height*width).fill(-Infinity);
  for (let map = 0; map < maps; map++) {
    for (let y = 0; y < height*size; y++) {
      for (let x = 0; x < width*size; x++) {
        const to = (map*height + Math.floor(y/size))*width + Math.floor(x/size);
        const v = values[(map*side + y)*side + x];
        if (v > largest[to]) largest[to] = v;
      }
    }
  }
  return largest;
}

function normalize(values, {scales, shifts, shape: [, height, width]}) {
  const size = height*width;
  const normalized = new Float32Array(values.length);
  for (let map = 0; map < scales.length; map++) {
    for (let i = map*size; i < (map + 1)*size; i++) {
      normalized[i] = values[i]*scales[map] + shifts[map];
    }
  }
  return normalized;
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
      return {...layer, weights, fours: inFours(weights, maps), biases: take(maps)};
    }
    if (layer.kind !== 'normalization') return layer;
    return {...layer, scales: take(maps), shifts: take(maps)};
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

  // What one map contributes to another: its part of each sum.
  function contribution(maps, k, input, output) {
    const {size, stride, padding, shape: [, height, width]} = layers[k];
    const side = sideBefore(k);
    const from = maps[k - 1].subarray(input*side*side, (input + 1)*side*side);
    const kernel = kernelOf(k, input, output);
    const shape = [1, height, width];
    const fours = inFours(kernel, 1);
    return convolve(from, {inputs: 1, size, stride, padding, shape, fours, biases: [0]}, side);
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

  return {layers, blocks: blocksOf(layers), run, contribution, kernelOf, sumAt};
}
