// A place for pictures, to be chosen or dropped there: one ES module, used by the notebook's widget and by web pages.
//   import {createDrop} from './upload.js';  createDrop(element, {onFile: (name, bytes, first, others) => …})   bytes: an ArrayBuffer, null for a file
//   above `limit`; first: of several that come together; others: how many besides
const STYLE = `
.picture-drop { display: inline-flex; align-items: center; gap: 16px; padding: 14px 18px; border: 2px dashed #888; border-radius: 8px;
                font: 14px system-ui, sans-serif; max-width: 34em; }
.picture-drop.over { border-color: #0072B2; border-style: solid; }
.picture-drop button { padding: 6px 12px; border: 1px solid #888; border-radius: 6px; background: transparent; color: inherit; font: inherit;
                       cursor: pointer; white-space: nowrap; }
.picture-drop button:focus-visible { outline: 3px solid #0072B2; outline-offset: 2px; }
.picture-drop .camera { display: none; }
@media (pointer: coarse) { .picture-drop button.camera { display: inline-block; } }
.picture-drop p { margin: 0; }`;

const sheet = new CSSStyleSheet();  // not a <style> in the page: a strict Content-Security-Policy forbids that
sheet.replaceSync(STYLE);

export function createDrop(element, {onFile = () => {}, limit = 1e7, what = 'photographs or drawings of one digit', several = true, camera = ''} = {}) {
  if (!document.adoptedStyleSheets.includes(sheet)) document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  const root = document.createElement('div');
  root.className = 'picture-drop';
  root.innerHTML = `<input type="file" accept="image/*" ${several ? 'multiple' : ''} hidden><button type="button">Choose ${several ? 'pictures' : 'an image'}</button>
    <p>or drop ${several ? 'them' : 'it'} here: ${what}, up to ${Math.round(limit/1e6)} MB${several ? ' each' : ''}</p>`;
  element.append(root);
  if (camera) {  // on phones, a second button opens the camera
    const taken = Object.assign(document.createElement('input'), {type: 'file', accept: 'image/*', hidden: true, className: 'camera'});
    const button = Object.assign(document.createElement('button'), {type: 'button', textContent: camera, className: 'camera'});
    taken.setAttribute('capture', 'environment');  // not every browser has it as a property
    button.addEventListener('click', () => taken.click());
    taken.addEventListener('change', async () => { await take([...taken.files]); taken.value = ''; });
    root.querySelector('button').after(button, taken);
  }
  const input = root.querySelector('input'), button = root.querySelector('button');

  async function take(files) {
    let first = true;
    for (const file of files) {  // one after the other: they are answered in this order
      const bytes = file.size > limit ? null : await file.arrayBuffer().catch(() => new ArrayBuffer(0));
      onFile(file.name, bytes, first, files.length - 1);
      first = false;
    }
  }

  button.addEventListener('click', () => input.click());
  input.addEventListener('change', async () => { await take([...input.files]); input.value = ''; });
  for (const kind of ['dragenter', 'dragover', 'dragleave', 'drop']) root.addEventListener(kind, event => {
    event.preventDefault();  // else the browser leaves the page for the picture
    event.stopPropagation();
    root.classList.toggle('over', kind === 'dragenter' || kind === 'dragover');
    if (kind === 'drop') take([...event.dataTransfer.files]);
  });
  return {root, take};
}

export default {  // what anywidget asks for
  render({model, el}) {
    const one = model.get('what') ? {what: model.get('what'), several: false} : {};
    const drop = createDrop(el, {...one, limit: model.get('limit'), onFile: (name, bytes, first) => model.send({name, first}, undefined, bytes ? [bytes] : [])});
    return () => drop.root.remove();
  },
};
