// A pad to draw digits on, with mouse, finger, pen or keyboard: one ES module, used by the notebook's widget and by web pages.
//   import {createPad} from './pad.js';  createPad(element, {onChange: png => …})   png: a data URL, '' when the pad is blank
const SIDE = 280, PEN = 20;  // of the drawing, in its own pixels

const STYLE = `
.digit-pad { display: inline-block; padding: 5px; font: 14px system-ui, sans-serif; }
.digit-pad canvas { display: block; width: min(280px, 100%); aspect-ratio: 1; background: white; border: 1px solid #888; border-radius: 8px;
                    touch-action: none; cursor: crosshair; }
.digit-pad canvas:focus-visible, .digit-pad button:focus-visible { outline: 3px solid #0072B2; outline-offset: 2px; }
.digit-pad .buttons { display: flex; gap: 8px; margin-top: 8px; }
.digit-pad button { flex: 1; padding: 6px 12px; border: 1px solid #888; border-radius: 6px; background: transparent; color: inherit; font: inherit; cursor: pointer; }
.digit-pad button:disabled { opacity: .45; cursor: default; }
.digit-pad .hint { margin: 6px 0 0; max-width: 280px; font-size: 12px; opacity: .75; }
.digit-pad .pen { position: absolute; width: 1px; height: 1px; margin: -1px; overflow: hidden; clip-path: inset(50%); }`;

const sheet = new CSSStyleSheet();  // not a <style> in the page: a strict Content-Security-Policy forbids that
sheet.replaceSync(STYLE);

let pads = 0;  // so that each has a hint with a name of its own

// onChange(png, finished) at the end of each stroke, and every `pace` milliseconds while the pen moves;
// with a text for `keep`, there is a button of that name, which like the Enter key calls onKeep(png)
export function createPad(element, {onChange = () => {}, label = 'Draw a digit here', pace = 125, keep = '', onKeep = () => {}} = {}) {
  if (!document.adoptedStyleSheets.includes(sheet)) document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  const root = document.createElement('div');
  root.className = 'digit-pad';
  root.innerHTML = `
    <canvas width="${SIDE}" height="${SIDE}" tabindex="0" role="application" aria-roledescription="drawing pad"></canvas>
    <div class="buttons"><button type="button" class="undo">Undo</button><button type="button" class="clear">Clear</button></div>
    <p class="hint">Mouse, finger or pen. On the keyboard: arrows move, Space puts the pen down and lifts it, Ctrl+Z undoes, Delete clears.</p>
    <p class="pen" role="status"></p>`;
  element.append(root);
  root.querySelector('.hint').id = `digit-pad-hint-${++pads}`;
  const canvas = root.querySelector('canvas'), undoButton = root.querySelector('.undo'), clearButton = root.querySelector('.clear');
  const context = canvas.getContext('2d', {willReadFrequently: true});
  canvas.setAttribute('aria-label', label);
  canvas.setAttribute('aria-describedby', root.querySelector('.hint').id);
  if (keep) {
    const button = document.createElement('button');
    Object.assign(button, {type: 'button', className: 'keep', textContent: keep});
    button.addEventListener('click', keepDrawing);
    clearButton.after(button);
    root.querySelector('.hint').append(` Enter: ${keep}.`);
  }
  let strokes = [], drawing = null, cursor = null, timer = 0;  // a stroke is a list of [x, y]; the cursor is the keyboard's pen
  let pointer = null;  // the one mouse, finger or pen that draws; a second finger, or the palm, is not asked
  const say = text => { root.querySelector('.pen').textContent = text; };

  function trace(stroke) {
    context.beginPath();
    context.moveTo(...stroke[0]);
    if (stroke.length === 1) context.lineTo(stroke[0][0] + .01, stroke[0][1]);
    for (let i = 1; i < stroke.length - 1; i++) {  // curves through the midpoints: no corners where the mouse was slow to report
      const [x, y] = stroke[i], [nextX, nextY] = stroke[i + 1];
      context.quadraticCurveTo(x, y, (x + nextX)/2, (y + nextY)/2);
    }
    if (stroke.length > 1) context.lineTo(...stroke.at(-1));
    context.stroke();
  }

  function paint() {
    context.fillStyle = 'white';
    context.fillRect(0, 0, SIDE, SIDE);
    Object.assign(context, {strokeStyle: 'black', lineWidth: PEN, lineCap: 'round', lineJoin: 'round'});
    strokes.forEach(trace);
    undoButton.disabled = clearButton.disabled = !strokes.length;
  }

  function report(finished) {
    clearTimeout(timer);
    timer = 0;
    onChange(strokes.length ? canvas.toDataURL('image/png') : '', finished);
    if (cursor) mark();
  }

  function changed(now = true) {  // paint at once; report at once, or now and then while the pen moves
    paint();
    if (now) report(true);
    else if (!timer) timer = setTimeout(() => { paint(); report(false); }, pace);
  }

  function mark() {  // where the keyboard's pen is: never part of the drawing that is reported
    paint();
    Object.assign(context, {strokeStyle: drawing ? '#D55E00' : '#0072B2', lineWidth: 2});
    context.setLineDash(drawing ? [] : [4, 3]);
    context.beginPath();
    context.arc(...cursor, PEN/2, 0, 2*Math.PI);
    context.stroke();
    context.setLineDash([]);
  }

  function bare(use) {  // the drawing without the keyboard's pen
    if (cursor) paint();
    const got = use();
    if (cursor) mark();
    return got;
  }

  function place(event) {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left)*SIDE/box.width, (event.clientY - box.top)*SIDE/box.height];
  }

  function undo() { drawing = pointer = null; strokes.pop(); changed(); say('last stroke taken back'); }
  function clear() { drawing = pointer = null; strokes = []; changed(); say('the pad is blank'); }

  function keepDrawing() {
    if (drawing) { drawing = pointer = null; changed(); }
    onKeep(png());
  }

  canvas.addEventListener('pointerdown', event => {
    if (event.button || pointer !== null) return;
    pointer = event.pointerId;
    event.preventDefault();
    canvas.focus({preventScroll: true});
    canvas.setPointerCapture(event.pointerId);
    cursor = null;
    drawing = [place(event)];
    strokes.push(drawing);
    changed(false);
  });
  canvas.addEventListener('pointermove', event => {
    if (!drawing || event.pointerId !== pointer) return;
    const steps = event.getCoalescedEvents?.() ?? [];
    for (const step of steps.length ? steps : [event]) drawing.push(place(step));
    changed(false);
  });
  for (const end of ['pointerup', 'pointercancel']) canvas.addEventListener(end, event => {
    if (event.pointerId !== pointer) return;
    pointer = null;
    if (!drawing) return;
    drawing = null;
    changed();
  });

  const ARROWS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
  canvas.addEventListener('keydown', event => {
    const step = ARROWS[event.key], inside = v => Math.min(SIDE - PEN/2, Math.max(PEN/2, v));
    if (event.key === 'z' && (event.ctrlKey || event.metaKey)) undo();
    else if (event.key === 'Delete' || event.key === 'Backspace') clear();
    else if (event.key === 'Enter' && keep) keepDrawing();
    else if (event.key === ' ') {
      cursor ??= [SIDE/2, SIDE/4];
      if (pointer !== null) return;
      if (drawing) { drawing = null; changed(); say('pen up'); }
      else { drawing = [[...cursor]]; strokes.push(drawing); changed(false); say('pen down'); }
      mark();
    } else if (step) {
      cursor ??= [SIDE/2, SIDE/4];
      const pace = event.shiftKey ? 3 : 10;
      cursor = [inside(cursor[0] + step[0]*pace), inside(cursor[1] + step[1]*pace)];
      if (drawing) { drawing.push([...cursor]); changed(false); }
      mark();
    } else return;
    event.preventDefault();
    event.stopPropagation();  // the notebook has shortcuts of its own
  });
  canvas.addEventListener('blur', () => { if (cursor) { drawing = null; cursor = null; changed(); } });
  undoButton.addEventListener('click', undo);
  clearButton.addEventListener('click', clear);
  paint();
  const pixels = () => bare(() => context.getImageData(0, 0, SIDE, SIDE));
  const png = () => strokes.length ? bare(() => canvas.toDataURL('image/png')) : '';
  return {undo, clear, root, canvas, pixels, png, strokes: () => strokes};
}

export default {  // what anywidget asks for
  render({model, el}) {
    const counted = png => png.replace(';base64', `;emptied=${model.get('emptied')};base64`);  // see nbs/library/pad.ipynb
    const pad = createPad(el, {
      label: model.get('label'),
      keep: model.get('keep'),
      onChange: png => { model.set('png', counted(png)); model.save_changes(); },
      onKeep: png => model.send({keep: counted(png)}),
    });
    const emptied = () => { if (pad.strokes().length) pad.clear(); };  // by Python
    model.on('change:emptied', emptied);
    return () => { model.off('change:emptied', emptied); pad.root.remove(); };
  },
};
