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
  export interface Engine {
    start?(): Promise<void>;
    read(pad: Pad): Promise<Answer>;
    readImage(bytes: ArrayBuffer): Promise<Answer[][]>;
  }
  export function server(options?: {base?: string}): Engine;
  export function browser(options?: {base?: string}): Engine;
}
