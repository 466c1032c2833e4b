// The live connection. It comes back by itself, with growing pauses, and says what it lacks meanwhile.

import { Trouble, address, get } from "./api.js";

/** A stream that says nothing for so long is lost, whatever the socket believes. */
const SILENCE = 6000;
const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 15_000;

/**
 * Follows the status for the life of the page. `told(status)` gets every new one; `lost(since, why)` is
 * called when the connection goes, and again with a better reason; `told` says that it is back.
 */
export function follow(told, lost) {
  let source = null;
  let pause = FIRST_PAUSE;
  let watch = 0;
  let since = null;

  const silent = () => gone("Nothing has come for some seconds.");
  const heard = () => {
    clearTimeout(watch);
    watch = setTimeout(silent, SILENCE);
  };

  function open() {
    source = new EventSource(address("api/stream"));
    heard();
    source.addEventListener("status", (event) => {
      heard();
      pause = FIRST_PAUSE;
      since = null;
      told(JSON.parse(event.data));
    });
    source.addEventListener("error", () => gone("The bridge does not answer."));
  }

  async function gone(why) {
    clearTimeout(watch);
    if (!source) return;
    source.close();
    source = null;
    since ??= new Date();
    lost(since, why);
    const wait = pause;
    pause = Math.min(pause * 2, LONGEST_PAUSE);
    setTimeout(open, wait);
    // A stream does not say why it was refused; a plain question does.
    try {
      await get("api/status");
    } catch (error) {
      if (error instanceof Trouble && error.status && since) lost(since, error.words);
    }
  }

  // A page that was in the background, or a machine that slept, tries at once.
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) pause = FIRST_PAUSE;
  });
  open();
}
