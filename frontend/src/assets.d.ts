// What this app takes from the course's own modules, in mnist_course/assets.

declare module '@assets/pad.js' {
  export interface Pad {
    root: HTMLElement;
    png(): string;
    pixels(): ImageData;
    strokes(): number[][][];
    clear(): void;
  }
  export function createPad(element: HTMLElement, options: {
    pace?: number;  // milliseconds between two reports while the pen moves
    onChange?: (png: string, finished: boolean) => void;
  }): Pad;
}

declare module '@assets/upload.js' {
  type OnFile = (name: string, bytes: ArrayBuffer | null, first: boolean) => void;
  export function createDrop(element: HTMLElement, options: {
    limit?: number;  // bytes; a larger file comes as null
    what?: string;
    several?: boolean;
    camera?: string;  // on phones, the name of a button that opens the camera
    onFile?: OnFile;
  }): {root: HTMLElement};
}

declare module '@assets/engines.js' {
  import type {Pad} from '@assets/pad.js';
  type Sent = import('./api').components['schemas']['Answer'];
  // `label`, `image` and `classes` are the server's alone; `pixels` are 28 by 28, ink 255 on 0
  export type Answer = Omit<Sent, 'label' | 'image' | 'classes'> & {pixels: Uint8Array};
  export type Failure = Error & {gone?: boolean};
  // the finder's maps, 0 to 255 each
  export interface FinderMaps {
    ink: Uint8Array;
    cores: Uint8Array;
    other: Uint8Array;
    width: number;
    height: number;
  }
  export interface Explanation {
    occlusion: {square: number; corners: number[]; drops: number[][]};
    finder: FinderMaps | null;
  }
  export interface Network {
    layers: object[] | null;  // null: not a chain of layers
    numbers: Float32Array;
  }
  export interface Engine {
    start?(): Promise<unknown>;  // loads the networks; only the browser has to
    read(pad: Pad): Promise<Answer>;
    explain(pad: Pad, answer: Answer): Promise<Explanation>;
    network(): Promise<Network>;
    readImage(bytes: ArrayBuffer): Promise<Answer[][] & {finder: FinderMaps | null}>;
  }
  export function server(options?: {base?: string}): Engine;
  export function browser(options?: {base?: string}): Engine;
}

declare module '@assets/answers.js' {
  import type {Answer} from '@assets/engines.js';
  export const LARGEST: number;  // bytes of a file
  export const TOO_LARGE: string;
  export const NOTHING: string;
  export function isFound<T extends Answer>(answer: T | null): answer is T;
  export function percent(part: number): string;
  export function inWords(answer: Answer | null): string;
}

declare module '@assets/settings.js' {
  export const remarks: {nothing: string};
}
