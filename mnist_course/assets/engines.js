// What answers a page: a server (`mnist_serve`), or the same two networks in the browser itself.
//   import {browser, server} from './engines.js';
//   const engine = server();  await engine.read(pad);  await engine.readImage(bytes);
// `read` takes a pad of pad.js and gives one answer; `readImage` takes the bytes of an image file
// and gives rows of answers. An answer is {digit, confidence, probs, warning, box, pixels, …}; pixels
// are what the network saw: 28 by 28, ink 255 on 0. The message of an error is a sentence; its
// `gone` is true where nothing answers that is one of our servers.
import {onPaper, openImage} from './pixels.js';
import {predict, readNumber} from './reader.js';

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

async function pixelsOf(url) {  // of an image as a data URL, which a strict policy lets nobody fetch
  const bytes = Uint8Array.from(atob(url.split(',')[1]), letter => letter.charCodeAt(0));
  const image = await createImageBitmap(new Blob([bytes]), {colorSpaceConversion: 'none'});
  const context = new OffscreenCanvas(image.width, image.height).getContext('2d');
  context.drawImage(image, 0, 0);
  const {data} = context.getImageData(0, 0, image.width, image.height);
  return Uint8Array.from({length: data.length/4}, (_, i) => data[4*i]);
}

async function withPixels(answer) {
  return {...answer, pixels: await pixelsOf(answer.image)};
}

export function server({base = './'} = {}) {  // base: where its /api is, and ends in a slash
  return {
    async read(pad) {
      const body = JSON.stringify({image: pad.png()});
      return withPixels(await ask(`${base}api/predict`, body, 'application/json'));
    },
    async readImage(bytes) {
      const {rows} = await ask(`${base}api/read`, bytes, 'application/octet-stream');
      return Promise.all(rows.map(row => Promise.all(row.map(withPixels))));
    },
  };
}

export function browser({base = './'} = {}) {  // base: where model.onnx, finder.onnx and onnxruntime-web are
  const address = name => new URL(base + name, location.href).href;
  let ready = null;

  async function network(name) {
    const reply = await fetch(address(`${name}.onnx`));
    if (!reply.ok) throw new Error(`${name}.onnx is missing`);
    return new Uint8Array(await reply.arrayBuffer());
  }

  const engine = {
    start() {  // load everything, once; after a failure, the next call tries again
      ready ??= load().catch(() => {
        ready = null;
        throw failure('The networks could not be loaded in this browser.');
      });
      return ready;
    },
    async read(pad) {
      await engine.start();
      return predict(onPaper(pad.pixels()), engine.find, engine.classify);
    },
    async readImage(bytes) {
      await engine.start();
      const image = await openImage(new Blob([bytes])).catch(() => {
        throw failure('This browser cannot read this file: it is not an image, or of an unknown kind.');
      });
      return readNumber(image, engine.find, engine.classify);
    },
  };

  async function load() {  // all files at once
    const runtime = import(/* @vite-ignore */ address('ort.wasm.bundle.min.mjs'));
    const [ort, ...files] = await Promise.all([runtime, network('finder'), network('model')]);
    ort.env.wasm.numThreads = 1;
    const [finder, model] = await Promise.all(files.map(bytes => ort.InferenceSession.create(bytes)));
    const run = async (session, type, pixels, dims) => session.run({images: new ort.Tensor(type, pixels, dims)});
    engine.find = async (pixels, dims) => (await run(finder, 'float32', pixels, dims)).maps;
    engine.classify = async (pixels, dims) => (await run(model, 'uint8', pixels, dims)).probs;
  }

  return engine;
}
