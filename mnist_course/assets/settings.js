// The numbers and sentences that Python hands over, in the page's <script id="settings">.
//   import {constants, remarks} from './settings.js';
const element = document.getElementById('settings');

function complete(values, what) {  // what is missing is an error at once, not a NaN later
  return new Proxy(values ?? {}, {
    get(target, name) {
      if (name in target) return target[name];
      throw new Error(`The page has no ${what} ${String(name)}: was it made by draw_page?`);
    },
  });
}

export const settings = complete(JSON.parse(element?.textContent ?? '{}'), 'setting');
export const constants = complete(settings.constants, 'constant');
export const remarks = complete(settings.remarks, 'remark');
