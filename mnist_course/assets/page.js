// The page to draw on: what is drawn or dropped goes to an engine, and its answers are shown. The
// engine is a server (`mnist_serve`) or, on the static web site, the same two networks in the page.
import {inWords, isFound, isLikely, nameOf, percent} from './answers.js';
import {LARGEST, NOTHING, TOO_LARGE} from './answers.js';
import {make} from './elements.js';
import {browser, server} from './engines.js';
import {createInside} from './inside.js';
import {createNetwork} from './network.js';
import {createPad} from './pad.js';
import {paintFinder, paintMap, paintOcclusion} from './paint.js';
import {openImage} from './pixels.js';
import {predict} from './reader.js';
import {remarks, settings} from './settings.js';
import {createDrop} from './upload.js';

const $ = id => document.getElementById(id);
const here = settings.engine === 'browser';
const engine = here ? browser() : server();
const WIDEST = 840;  // pixels of a photo on the page

// an answer

for (let k = 0; k < 10; k++) {
  const well = make('span', {className: 'well'}, make('span', {className: 'bar'}));
  well.setAttribute('aria-hidden', 'true');
  const share = make('span', {className: 'share'});
  $('bars').append(make('li', {}, share, well, make('span', {className: 'name', textContent: k})));
}

function likeliest({probs, classes}) {  // ten classes at most, in their order
  const best = probs.map((_, k) => k).sort((a, b) => probs[b] - probs[a]).slice(0, 10);
  return best.sort((a, b) => a - b).map(k => ({k, name: classes?.[k] ?? String(k), p: probs[k]}));
}

function showBars(answer) {
  const shown = answer ? likeliest(answer) : [];
  [...$('bars').children].forEach((item, place) => {
    const {k, name, p} = shown[place] ?? {p: 0};
    item.hidden = Boolean(answer) && k === undefined;
    item.classList.toggle('best', k !== undefined && k === answer.digit);
    const share = percent(p).replace('more than ', '>');
    item.querySelector('.share').textContent = answer && isLikely(p) ? share : '';
    item.querySelector('.bar').style.transform = `scaleY(${p})`;
    if (name) item.querySelector('.name').textContent = item.title = name;
    item.setAttribute('aria-label', answer ? `${name}: ${percent(p)}` : name ?? '');
  });
}

function showAnswer(read) {
  const answer = isFound(read) ? read : null;
  const name = answer ? nameOf(answer) : '?';
  $('digit').textContent = name;
  $('digit').classList.toggle('none', !answer);
  $('digit').classList.toggle('long', name.length > 2);
  const nothing = read ? NOTHING : 'Draw, as large as you like.';
  $('sure').textContent = answer ? `${percent(answer.confidence)} confident` : nothing;
  $('warning').textContent = answer?.warning ?? '';
  showBars(answer);
  paintMap($('seen'), answer?.pixels ?? new Uint8Array(28*28), 28, 28, {high: 255});
  const seen = answer ? `the digit at 28 by 28 pixels, read as ${name}` : 'nothing yet';
  $('seen').setAttribute('aria-label', seen);
}

// how it came about

let inside = null;  // the three levels, once the network is there
let shown = null;  // the answer that they show

function showLevels() {
  inside?.show(shown.pixels, shown.classes ?? [...'0123456789']);
}

async function openInside() {
  const described = await engine.network();
  if (!described.layers) return;  // no chain of layers
  inside = createInside($('network'), createNetwork(described));
  $('second').hidden = false;
  if (shown) showLevels();
}

function showInside(answer, whose = '') {
  shown = isFound(answer) ? answer : null;
  $('empty').hidden = Boolean(shown);
  $('levels').hidden = !shown;
  $('views').hidden = Boolean(whose);  // they are about the drawing
  $('whose').textContent = whose;
  if (shown) showLevels();
}

function showExplanation(answer, {occlusion, finder}) {
  paintOcclusion($('occlusion'), answer.pixels, occlusion);
  $('occlusion').setAttribute('aria-label', `the parts that speak for ${nameOf(answer)}`);
  $('finder').parentElement.hidden = !finder;
  if (!finder) return;
  paintFinder($('finder'), finder);
  $('finder').setAttribute('aria-label', 'your drawing, as the finder sees it');
}

function isStale(stale) {
  for (const id of ['occlusion', 'finder']) $(id).classList.toggle('stale', stale);
}

// from the pad

let busy = false;
let next = null;  // what was drawn while a question was under way: {finished}

async function readOnce(finished) {
  const asked = performance.now();
  try {
    const answer = pad.strokes().length ? await engine.read(pad) : null;
    showAnswer(answer);
    showInside(answer);
    for (const button of $('number').children) button.removeAttribute('aria-pressed');
    performance.measure('reading', {start: asked});  // for the developer tools
    if (finished) $('said').textContent = inWords(answer);
    isStale(Boolean(answer));
    if (!isFound(answer) || !finished || next) return;
    const explanation = await engine.explain(pad, answer).catch(() => null);  // the rest stands
    if (!explanation || next || shown !== answer) return;
    showExplanation(answer, explanation);
    isStale(false);
  } catch (e) {
    showAnswer(null);
    showInside(null);
    $('warning').textContent = $('said').textContent = e.message;
  }
}

async function read(finished) {  // one question at a time, and then what was drawn meanwhile
  next = {finished: finished || Boolean(next?.finished)};
  if (busy) return;
  busy = true;
  while (next) {
    const now = next;
    next = null;
    await readOnce(now.finished);
  }
  busy = false;
}

const pad = createPad($('pad'), {pace: 60, onChange: (png, finished) => read(finished)});

// from a photo

function showPhoto(picture, digits) {
  const scale = Math.min(1, WIDEST/Math.max(picture.width, picture.height));
  const [width, height] = [picture.width*scale, picture.height*scale];
  const context = $('photo').getContext('2d');
  Object.assign($('photo'), {width, height, hidden: false});
  context.drawImage(picture, 0, 0, width, height);
  picture.close();
  Object.assign(context, {strokeStyle: '#009E73', lineWidth: 3});
  for (const {box} of digits) if (box) context.strokeRect(...box.map(v => v*scale));
}

function digitButton(answer) {  // one digit of a photo, which can be looked at below
  if (!inside) return make('span', {textContent: nameOf(answer)});
  const button = make('button', {type: 'button', textContent: nameOf(answer)});
  button.addEventListener('click', () => {
    for (const other of $('number').children) other.setAttribute('aria-pressed', other === button);
    const whose = `The ${nameOf(answer)} of your image:`;
    showInside(answer, whose);
    $('said').textContent = whose;
    $('inside').scrollIntoView();
  });
  return button;
}

function showNumber(rows) {
  const lines = rows.map(row => row.map(digitButton));
  $('number').replaceChildren(...lines.flatMap((line, k) => k ? ['\n', ...line] : line));
  $('choose').hidden = !inside;
  return $('number').textContent;
}

function aboutAll(digits, others) {
  const warnings = [...new Set(digits.map(({warning}) => warning).filter(Boolean))];
  if (others) warnings.push('only the first image was read');
  const least = Math.min(...digits.map(({confidence}) => confidence));
  const which = digits.length === 1 ? '' : 'the least confident digit: ';
  return `${which}${percent(least)} confident${['', ...warnings].join('; ')}`;
}

let photos = 0;

async function readPhoto(name, bytes, others) {  // others: how many came with it, and are not read
  const mine = ++photos;
  const overtaken = () => mine !== photos;  // by another photo
  $('read').classList.add('shown');
  $('photo').hidden = $('spotted').hidden = $('choose').hidden = true;
  $('number').textContent = '';
  $('about').textContent = 'reading …';
  try {
    if (!bytes) throw new Error(TOO_LARGE);
    const rows = await engine.readImage(bytes);
    const digits = rows.flat();
    // a TIFF is read here, and not every browser can show it
    const picture = await createImageBitmap(new Blob([bytes])).catch(() => null);
    if (overtaken()) return;
    if (!digits.some(isFound)) throw new Error(digits[0]?.warning ?? remarks.nothing);
    if (picture) showPhoto(picture, digits);
    const text = showNumber(rows);
    $('about').textContent = aboutAll(digits, others);
    $('photo').setAttribute('aria-label', `your image ${name}, read as ${text}`);
    $('said').textContent = `${name}: ${text}. ${$('about').textContent}`;
    $('spotted').hidden = !rows.finder;
    if (rows.finder) paintFinder($('spotted'), rows.finder);
  } catch (e) {
    if (!overtaken()) $('about').textContent = $('said').textContent = e.message;
  }
}

const drop = createDrop($('drop'), {
  limit: LARGEST,
  what: 'PNG, JPEG, WEBP and others',
  several: false,
  camera: 'Take a photo',
  onFile: (name, bytes, first, others) => { if (first) readPhoto(name, bytes, others); },
});
for (const kind of ['dragover', 'drop']) {
  document.addEventListener(kind, event => {
    event.preventDefault();
    if (kind === 'drop') drop.take([...event.dataTransfer.files]);
  });
}
document.addEventListener('paste', event => drop.take([...event.clipboardData.files]));

// where the networks are, and light and dark

$('where').textContent = here ? 'They run in your browser.'
  : 'They run on the computer that serves this page.';
if (here) {
  engine.start().catch(e => { $('warning').textContent = e.message; });
  window.reading = {browser: engine, openImage, predict};  // for tests
}
openInside().catch(() => {});  // the page reads without it

function theme(name) {
  document.documentElement.dataset.theme = name;
  $('theme').textContent = name === 'dark' ? 'Light mode' : 'Dark mode';
}
theme(matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light');
$('theme').addEventListener('click', () => {
  theme(document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark');
});
