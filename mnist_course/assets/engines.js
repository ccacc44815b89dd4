// What answers a page: a server (`mnist_serve`), or the same two networks in the browser itself.
//   import {browser, server} from './engines.js';
//   const engine = server();  await engine.read(pad);  await engine.readImage(bytes);
// `read` takes a pad of pad.js and gives one answer; `readImage` takes the bytes of an image file
// and gives rows of answers; `network` gives the layers of the classifier and their numbers, for
// network.js. An answer is {digit, confidence, probs, warning, box, pixels, …}; pixels are what the
// network saw: 28 by 28, ink 255 on 0. `explain(pad, answer)` takes longer: `occlusion` says how
// far the score drops where a square of paper covers a part, and `finder` what the finder sees, as
// maps {ink, cores, other, width, height}, 0 to 255; `rows.finder` is the same for an image, where
// it is known. The message of an error is a sentence; its `gone` is true where nothing answers that
// is one of our servers.
import {onPaper, openImage} from './pixels.js';
import {predict, readNumber} from './reader.js';
import {settings} from './settings.js';

const NETWORKS = ['model.onnx', 'finder.onnx', 'finder_quick.onnx'];
const PATIENCE = 65_000;  // milliseconds: a little more than a server lets an image wait

function failure(message, gone = false) {
  return Object.assign(new Error(message), {gone});
}

async function ask(address, body, type) {
  const signal = AbortSignal.timeout(PATIENCE);
  const headers = {'Content-Type': type};
  const reply = await fetch(address, {method: 'POST', body, headers, signal}).catch(() => {
    throw failure('The server does not answer.', true);
  });
  const answer = await reply.json().catch(() => {
    throw failure(`The server answered with status ${reply.status}.`, true);
  });
  if (!reply.ok) throw failure(answer.error);
  return answer;
}

async function load(address) {
  const reply = await fetch(address);
  if (!reply.ok) throw new Error(`${address} is missing`);
  return reply;
}

async function imageData(url) {  // of a data URL, which a strict policy lets nobody fetch
  const bytes = Uint8Array.from(atob(url.split(',')[1]), letter => letter.charCodeAt(0));
  const image = await createImageBitmap(new Blob([bytes]), {colorSpaceConversion: 'none'});
  const context = new OffscreenCanvas(image.width, image.height).getContext('2d');
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, image.width, image.height);
}

function channel({data}, k) {
  const values = new Uint8Array(data.length/4);
  for (let i = 0; i < values.length; i++) values[i] = data[4*i + k];
  return values;
}

async function withPixels(answer) {
  return {...answer, pixels: channel(await imageData(answer.image), 0)};
}

async function finderMaps(url) {  // which come as the colors of an image
  if (!url) return null;
  const view = await imageData(url);
  const [ink, cores, other] = [0, 1, 2].map(k => channel(view, k));
  return {ink, cores, other, width: view.width, height: view.height};
}

async function description(layers, numbers) {  // of the network, for network.js
  const [described, raw] = await Promise.all([load(layers), load(numbers)]);
  return {...await described.json(), numbers: new Float32Array(await raw.arrayBuffer())};
}

export function server({base = './'} = {}) {  // base: where its /api is, and ends in a slash
  return {
    async read(pad) {
      const body = JSON.stringify({image: pad.png()});
      return withPixels(await ask(`${base}api/predict`, body, 'application/json'));
    },
    async explain(pad) {
      const body = JSON.stringify({image: pad.png(), explain: true});
      const {occlusion, finder} = await ask(`${base}api/predict`, body, 'application/json');
      return {occlusion, finder: await finderMaps(finder)};
    },
    network: () => description(`${base}api/network`, `${base}api/weights`),
    async readImage(bytes) {
      const address = `${base}api/read?explain=true`;
      const {rows, finder} = await ask(address, bytes, 'application/octet-stream');
      const read = await Promise.all(rows.map(row => Promise.all(row.map(withPixels))));
      return Object.assign(read, {finder: await finderMaps(finder)});
    },
  };
}

// base: where the .onnx files, network.json, weights.bin and onnxruntime-web are
export function browser({base = './'} = {}) {
  const address = name => new URL(base + name, location.href).href;
  let ready = null;
  const views = new WeakMap();  // of an answer: the finder's maps of the whole drawing

  function start() {  // load everything, once; after a failure, the next call tries again
    ready ??= networks(address).catch(() => {
      ready = null;
      throw failure('The networks could not be loaded in this browser.');
    });
    return ready;
  }

  return {
    start,
    async read(pad) {
      const {find, classify} = await start();
      const watched = keepsFirst(find);
      const answer = await predict(onPaper(pad.pixels()), watched.find, classify);
      views.set(answer, watched.maps());
      return answer;
    },
    async explain(pad, answer) {
      const {scores} = await start();
      return {occlusion: await occlusion(answer, scores), finder: mapsOf(views.get(answer))};
    },
    network: () => description(address('network.json'), address('weights.bin')),
    async readImage(bytes) {
      const {find, classify} = await start();
      const image = await openImage(new Blob([bytes])).catch(() => {
        throw failure('This browser cannot read this file: '
          + 'it is not an image, or of an unknown kind.');
      });
      const watched = keepsFirst(find);
      const rows = await readNumber(image, watched.find, classify);
      return Object.assign(rows, {finder: mapsOf(watched.maps())});
    },
  };
}

// The networks as functions of pixels and their dims: `find` gives the maps of the finder,
// `classify` probabilities and `scores` what they come from, each as {data, dims}.
async function networks(address) {
  const runtime = import(/* @vite-ignore */ address('ort.wasm.bundle.min.mjs'));
  const files = NETWORKS.map(async name => (await load(address(name))).arrayBuffer());
  const [ort, ...buffers] = await Promise.all([runtime, ...files]);
  ort.env.wasm.numThreads = 1;
  const created = buffers.map(buffer => ort.InferenceSession.create(new Uint8Array(buffer)));
  const [model, finder, quickFinder] = await Promise.all(created);
  const run = (session, type, pixels, dims) => (
    session.run({images: new ort.Tensor(type, pixels, dims)}));

  async function find(pixels, dims) {
    const quick = dims[2] % 32 === 0 && dims[3] % 32 === 0;
    return (await run(quick ? quickFinder : finder, 'float32', pixels, dims)).maps;
  }
  const classify = async (pixels, dims) => (await run(model, 'uint8', pixels, dims)).probs;
  const scores = async (pixels, dims) => (await run(model, 'uint8', pixels, dims)).scores;
  await predict(aStroke(), find, classify);  // the first time takes long
  return {find, classify, scores};
}

function keepsFirst(find) {  // a finder that keeps the maps of its first look
  let first = null;
  return {
    maps: () => first,
    async find(pixels, dims) {
      const maps = await find(pixels, dims);
      first ??= maps;
      return maps;
    },
  };
}

async function occlusion({pixels, digit}, scores) {  // `occlusion_grid` of web_explain
  const {square, corners} = settings.occlusion;
  const copies = [pixels];
  for (const top of corners) {
    for (const left of corners) {
      const copy = Uint8Array.from(pixels);
      for (let row = top; row < top + square; row++) {
        copy.fill(0, 28*row + left, 28*row + left + square);
      }
      copies.push(copy);
    }
  }
  const all = new Uint8Array(copies.length*28*28);
  copies.forEach((copy, k) => all.set(copy, k*28*28));
  const {data, dims} = await scores(all, [copies.length, 28, 28]);
  const [before, ...after] = copies.map((_, k) => data[k*dims[1] + digit]);
  const drop = (row, k) => before - after[row*corners.length + k];
  return {square, corners, drops: corners.map((_, row) => corners.map((_, k) => drop(row, k)))};
}

function aStroke() {  // in the middle of a pad
  const plane = new Float32Array(280*280).fill(255);
  for (let y = 60; y < 220; y++) plane.fill(0, 280*y + 130, 280*y + 150);
  return {planes: [plane, plane, plane], width: 280, height: 280, corner: [0, 0], scale: [1, 1]};
}

function mapsOf(found) {
  if (!found) return null;  // an image in MNIST's form is not searched
  const {data, dims: [, , height, width]} = found;
  const size = width*height;
  const map = k => new Uint8Array(data.subarray(k*size, (k + 1)*size).map(v => 255*v));
  const [ink, cores, other] = [0, 1, 2].map(map);
  return {ink, cores, other, width, height};
}
