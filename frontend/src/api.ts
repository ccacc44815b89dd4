/** What the API answers, in the form that `npm run types` writes. */
export interface components {
  schemas: {
    Answer: {
      digit: number;
      label: string | null;
      /** 0…1 */
      confidence: number;
      probs: number[];
      warning: string | null;
      /** left, top, width, height, in pixels of the image that was sent */
      box: number[] | null;
      /** what the network saw, as a data URL of a PNG file */
      image: string;
      classes?: string[];
    };
  };
}
