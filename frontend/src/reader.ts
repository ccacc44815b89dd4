// Who answers: the server, or the networks in this browser, which take over when the server is gone.
import {useEffect, useRef, useState} from 'react';
import {browser, server} from '@assets/engines.js';
import type {Engine, Failure} from '@assets/engines.js';

export type Choice = 'server' | 'browser';
const ENGINES: Record<Choice, Engine> = {server: server(), browser: browser()};

export function useEngine() {
  const [choice, setChoice] = useState<Choice>('server');
  const [notice, setNotice] = useState('');
  const current = useRef(choice);  // for questions that were asked before the last change

  useEffect(() => {  // while there is a server to load them from
    ENGINES.browser.start?.().catch(() => {});
  }, []);

  function choose(next: Choice, why = '') {
    current.current = next;
    setChoice(next);
    setNotice(why);
  }

  async function ask<T>(question: (engine: Engine) => Promise<T>): Promise<T> {
    if (current.current === 'server') {
      try {
        return await question(ENGINES.server);
      } catch (error) {
        const {gone, message} = error as Failure;
        if (!gone) throw error;
        choose('browser', `${message} The networks in this browser have taken over.`);
      }
    }
    return question(ENGINES.browser);
  }

  return {choice, choose, notice, ask};
}

// a function that does one job at a time, and once more if it was called meanwhile
export function oneAtATime(job: () => Promise<void>): () => Promise<void> {
  let busy = false;
  let again = false;
  return async () => {
    again = true;
    if (busy) return;
    busy = true;
    while (again) {
      again = false;
      await job();
    }
    busy = false;
  };
}
