// The page to draw on. What answers is either a server (`mnist_serve`) or, on the static web site, the same two networks, in the browser.
import {createPad} from './pad.js';
import {createDrop} from './upload.js';
import {onPaper, openImage} from './pixels.js';
import {predict, readNumber} from './reader.js';

const $ = id => document.getElementById(id), settings = JSON.parse($('settings').textContent);

async function ask(path, body, headers = {}) {
  let reply;
  try { reply = await fetch(path, {method: 'POST', body, headers}); }
  catch { throw new Error('The server does not answer. Is it still running?'); }
  const answer = await reply.json().catch(() => ({error: `The server answered with status ${reply.status}.`}));
  if (!reply.ok) throw new Error(answer.error);
  return answer;
}

function grey(values, width, height, high = 255) {  // numbers as ink on paper
  const picture = new ImageData(width, height);
  values.forEach((v, i) => picture.data.set([0, 0, 0, Math.min(255, 255*v/high)], 4*i));
  return picture;
}

const server = {  // asks the library
  async read(pad) {
    const answer = await ask('api/predict', JSON.stringify({image: pad.png(), maps: $('more').open}), {'Content-Type': 'application/json'});
    const picture = Object.assign(new Image(), {src: answer.image});
    await picture.decode();
    return {...answer, picture};
  },
  async readImage(bytes) {
    return (await ask('api/read', bytes, {'Content-Type': 'application/octet-stream'})).rows;
  },
};

const browser = {  // asks the networks in this page
  start() {
    this.ready ??= this.load();
    return this.ready;
  },
  async load() {  // all files at once
    const file = async name => {
      const reply = await fetch(`./${name}.onnx`);
      if (!reply.ok) throw new Error(`${name}.onnx is missing`);
      return new Uint8Array(await reply.arrayBuffer());
    };
    const [ort, ...files] = await Promise.all([import('./ort.wasm.bundle.min.mjs'), file('finder'), file('model')]);
    ort.env.wasm.numThreads = 1;
    const [finder, model] = await Promise.all(files.map(bytes => ort.InferenceSession.create(bytes)));
    this.find = async (pixels, dims) => (await finder.run({images: new ort.Tensor('float32', pixels, dims)})).maps;
    this.look = (pixels, dims) => model.run({images: new ort.Tensor('uint8', pixels, dims)});
    this.classify = async (pixels, dims) => (await this.look(pixels, dims)).probs;
  },
  async maps(pixels) {
    const {maps} = await this.look(pixels, [1, 28, 28]);
    if (!maps) return null;
    const [, count, height, width] = maps.dims;
    return {count, height, width, values: [...maps.data]};
  },
  async read(pad) {
    await this.start();
    const answer = await predict(onPaper(pad.pixels()), this.find, this.classify);
    return {...answer, maps: $('more').open ? await this.maps(answer.pixels) : null};
  },
  async readImage(bytes) {
    await this.start();
    const image = await openImage(new Blob([bytes])).catch(() => { throw new Error('This browser cannot read this file: it is not an image, or of an unknown kind.'); });
    return readNumber(image, this.find, this.classify);
  },
};
const engine = settings.engine === 'browser' ? browser : server;

for (let d = 0; d < 10; d++) {
  $('bars').insertAdjacentHTML('beforeend', '<li><span class="share"></span><span class="well" aria-hidden="true"><span class="bar"></span></span><span class="name"></span></li>');
  $('bars').lastElementChild.querySelector('.name').textContent = d;
}

const nameOf = answer => answer.label ?? String(answer.digit);
function likeliest(answer) {  // ten answers at most, in their order
  const best = answer.probs.map((p, k) => k).sort((a, b) => answer.probs[b] - answer.probs[a]).slice(0, 10).sort((a, b) => a - b);
  return best.map(k => ({k, name: answer.classes?.[k] ?? String(k), p: answer.probs[k]}));
}

const percent = v => v > .995 ? 'more than 99%' : v < .005 ? 'less than 1%' : `${Math.round(100*v)}%`;

function showMaps(maps) {  // eight in a row, each as dark as the strongest of all
  if (!maps) return;
  const {count, height, width, values} = maps, across = Math.min(count, 8), down = Math.ceil(count/across), high = Math.max(...values, 1e-6);
  Object.assign($('maps'), {width: across*(width + 1) - 1, height: down*(height + 1) - 1});
  const context = $('maps').getContext('2d');
  for (let k = 0; k < count; k++) {
    context.fillStyle = 'white';
    context.fillRect(k%across*(width + 1), Math.floor(k/across)*(height + 1), width, height);
    const one = new OffscreenCanvas(width, height);
    one.getContext('2d').putImageData(grey(values.slice(k*width*height, (k + 1)*width*height), width, height, high), 0, 0);
    context.drawImage(one, k%across*(width + 1), Math.floor(k/across)*(height + 1));
  }
  $('maps').setAttribute('aria-label', `${count} small images, one for each filter of the first layer`);
}

function show(answer, spoken) {
  $('digit').textContent = answer ? nameOf(answer) : '?';
  $('digit').classList.toggle('none', !answer);
  $('digit').classList.toggle('long', Boolean(answer) && nameOf(answer).length > 2);
  $('sure').textContent = answer ? `${percent(answer.confidence)} confident` : 'Draw, as large as you like.';
  $('warning').textContent = answer?.warning ?? '';
  const answers = answer ? likeliest(answer) : [];
  [...$('bars').children].forEach((item, d) => {
    const {k, name, p} = answers[d] ?? {p: 0};
    item.hidden = Boolean(answer) && !answers[d];
    if (answers[d]) item.querySelector('.name').textContent = item.title = name;
    item.classList.toggle('best', k !== undefined && answer.digit === k);
    item.querySelector('.share').textContent = answer && p >= .005 ? (p > .995 ? '>99%' : percent(p)) : '';
    item.querySelector('.bar').style.transform = `scaleY(${p})`;
  });
  const context = $('seen').getContext('2d', {willReadFrequently: true});
  context.clearRect(0, 0, 28, 28);
  if (answer?.pixels) context.putImageData(grey(answer.pixels, 28, 28), 0, 0);
  else if (answer) {
    context.drawImage(answer.picture, 0, 0);  // ink is white in it
    context.putImageData(grey(context.getImageData(0, 0, 28, 28).data.filter((_, i) => i%4 === 0), 28, 28), 0, 0);
  }
  $('seen').setAttribute('aria-label', answer ? `the digit at 28 by 28 pixels, read as ${nameOf(answer)}` : 'nothing yet');
  if ($('more').open) showMaps(answer?.maps);
  if (spoken) $('said').textContent = answer ? `${nameOf(answer)}, ${percent(answer.confidence)} confident${answer.warning ? '. ' + answer.warning : ''}` : 'The pad is blank.';
}

let answers = 0, busy = false, waiting = false, again = false;
async function read(spoken) {  // one question at a time; what was drawn meanwhile is asked when the answer is there
  if (busy) { again ||= spoken; waiting = true; return; }
  busy = true;
  do {
    waiting = false;
    const loud = spoken || again, asked = performance.now();
    again = spoken = false;
    try {
      show(pad.strokes().length ? await engine.read(pad) : null, loud);
      document.body.dataset.milliseconds = Math.round(performance.now() - asked);
    } catch (e) { show(null); $('warning').textContent = $('said').textContent = e.message; }
    document.body.dataset.answers = ++answers;
  } while (waiting);
  busy = false;
}

const pad = createPad($('pad'), {pace: 60, onChange: (png, finished) => read(finished)});
$('more').addEventListener('toggle', () => { if ($('more').open) read(false); });

let pictures = 0;
async function readPicture(name, bytes, others) {  // others: how many came with it, and are not read
  const mine = ++pictures, box = $('read'), canvas = $('photo');
  box.classList.add('shown');
  canvas.hidden = true;
  $('number').textContent = '';
  $('about').textContent = 'reading …';
  try {
    if (!bytes) throw new Error('The image has more than 20 MB: make it smaller first.');
    const rows = await engine.readImage(bytes);
    if (mine !== pictures) return;  // another image has come since
    const digits = rows.flat();
    if (!digits.length) throw new Error(settings.remarks.nothing);
    const picture = await createImageBitmap(new Blob([bytes])).catch(() => null);  // a TIFF is read here, and not every browser can show it
    if (mine !== pictures) return;
    if (picture) {
      const scale = Math.min(1, 840/Math.max(picture.width, picture.height)), context = canvas.getContext('2d');
      Object.assign(canvas, {width: picture.width*scale, height: picture.height*scale, hidden: false});
      context.drawImage(picture, 0, 0, canvas.width, canvas.height);
      Object.assign(context, {strokeStyle: '#009E73', lineWidth: 3});
      for (const {box: b} of digits) if (b) context.strokeRect(...b.map(v => v*scale));
    }
    const text = rows.map(row => row.map(nameOf).join('')).join('\n');
    $('number').textContent = text;
    const warnings = [...new Set(digits.map(d => d.warning).filter(Boolean))];
    if (others) warnings.push('only the first image was read');
    const least = Math.min(...digits.map(d => d.confidence));
    $('about').textContent = `${digits.length === 1 ? '' : 'the least confident digit: '}${percent(least)} confident${warnings.length ? '. ' + warnings.join('; ') : ''}`;
    canvas.setAttribute('aria-label', `your image ${name}, read as ${text}`);
    $('said').textContent = `${name}: ${text}. ${$('about').textContent}`;
  } catch (e) { if (mine === pictures) $('about').textContent = $('said').textContent = e.message; }
}

const drop = createDrop($('drop'), {limit: 2e7, what: 'PNG, JPEG, WEBP and others', several: false, onFile: (name, bytes, first, others) => { if (first) readPicture(name, bytes, others); }});
for (const kind of ['dragover', 'drop']) document.addEventListener(kind, event => {
  event.preventDefault();
  if (kind === 'drop') drop.take([...event.dataTransfer.files]);
});
document.addEventListener('paste', event => drop.take([...event.clipboardData.files]));

$('where').textContent = engine === server ? 'They run on the computer that serves this page.' : 'They run in your browser.';
if (engine === browser) {
  browser.start().catch(() => { $('warning').textContent = 'The networks could not be loaded in this browser.'; });
  window.reading = {browser, openImage, predict};  // for tests
}

function theme(name) {
  document.documentElement.dataset.theme = name;
  $('theme').textContent = name === 'dark' ? 'Light' : 'Dark';
}
theme(matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light');
$('theme').addEventListener('click', () => theme(document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark'));
