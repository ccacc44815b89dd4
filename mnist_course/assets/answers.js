// What is said of an answer, on the page and in the React app.
//   import {inWords, isFound} from './answers.js';
import {settings} from './settings.js';

export const LARGEST = settings.largest;  // bytes of a file
export const TOO_LARGE = `The image has more than ${LARGEST/1e6} MB: make it smaller first.`;
export const NOTHING = 'No digit was found.';

export function isFound(answer) {
  return Boolean(answer?.box);  // null where there is no digit
}

export function nameOf({label, digit}) {  // networks of other classes give a label
  return label ?? String(digit);
}

export function isLikely(part) {  // else it is not worth a number
  return part >= .005;
}

export function percent(part) {
  if (part > .995) return 'more than 99%';
  return isLikely(part) ? `${Math.round(100*part)}%` : 'less than 1%';
}

export function inWords(answer) {
  if (!answer) return 'The pad is blank.';
  if (!isFound(answer)) return NOTHING;
  const warning = answer.warning ? `; ${answer.warning}` : '';
  return `${nameOf(answer)}, ${percent(answer.confidence)} confident${warning}`;
}
