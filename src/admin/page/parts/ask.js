// Asks before something that cannot be taken back.

import { dialog } from "./dom.js";

/** A question in a dialog of its own: `ask({title, text, yes, danger})` gives whether it was answered so. */
export function asker() {
  const view = dialog("ask");
  let settle = null;
  const end = (answer) => {
    settle?.(answer);
    settle = null;
    if (view.box.open) view.box.close();
  };
  view.no.addEventListener("click", () => end(false));
  view.yes.addEventListener("click", () => end(true));
  view.box.addEventListener("close", () => end(false));
  return ({ title, text, yes, danger = false }) => new Promise((resolve) => {
    view.title.textContent = title;
    view.text.textContent = text;
    view.yes.textContent = yes;
    view.yes.className = danger ? "sure" : "primary";
    settle = resolve;
    view.open();
    // What happens at a thoughtless Enter is nothing.
    view.no.focus();
  });
}
