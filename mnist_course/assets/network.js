// A network computed layer by layer, in plain JavaScript, so that every number can be shown.
//   import {createNetwork} from './network.js';
//   const {layers, blocks, run} = createNetwork(await engine.network());
//   const maps = run(pixels);   maps[k]: the numbers of layers[k], in one row
// A layer is what `layer_chain` of the library gives; `layers` is null for a network that is no
// chain of layers. A linear layer is a convolution with a kernel as large as its maps.

// Each number of the maps that come in is multiplied by its place in every kernel. After ReLU, most
// of them are 0 and add nothing, which saves most of the time.
function convolve(values, {inputs, size, stride, padding, shape, spread, biases}, side) {
  const [outputs, height, width] = shape;
  const sums = new Float64Array(height*width*outputs);  // place by place
  for (let place = 0; place < height*width; place++) sums.set(biases, place*outputs);
  for (let i = 0; i < inputs*side*side; i++) {
    const v = values[i];
    if (v === 0) continue;
    const map = Math.floor(i/(side*side));
    const y = Math.floor(i/side) % side + padding;
    const x = i % side + padding;
    for (let k = 0; k < size*size; k++) {
      const [toY, toX] = [(y - Math.floor(k/size))/stride, (x - k % size)/stride];
      if (!(toY >= 0 && toX >= 0 && toY < height && toX < width)) continue;
      if (stride > 1 && (toY % 1 || toX % 1)) continue;
      const from = (map*size*size + k)*outputs;
      const to = (toY*width + toX)*outputs;
      for (let out = 0; out < outputs; out++) sums[to + out] += v*spread[from + out];
    }
  }
  return Float32Array.from(transposed(sums, height*width, outputs));
}

function transposed(numbers, rows, columns) {
  const turned = new numbers.constructor(numbers.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      turned[column*rows + row] = numbers[row*columns + column];
    }
  }
  return turned;
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

function normalize(values, {scales, shifts, shape: [, height, width]}) {
  return values.map((v, i) => {
    const map = Math.floor(i/(height*width));
    return v*scales[map] + shifts[map];
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
      const spread = transposed(weights, maps, weights.length/maps);  // all outputs side by side
      return {...layer, weights, spread, biases: take(maps)};
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
    const one = {inputs: 1, size, stride, padding, shape, spread: kernel, biases: [0]};
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

  return {layers, blocks: blocksOf(layers), run, contribution, kernelOf, sumAt};
}
