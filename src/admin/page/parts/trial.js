// The test event: one that says so, to one endpoint, with what came of it.

import { endpointPath, post } from "./api.js";
import { outcome } from "./attempts.js";
import { dialog, make } from "./dom.js";
import { milliseconds } from "./format.js";

const WORDS = {
  delivered: "The partner took it.",
  transient: "It did not pass this time; a real event would be tried again.",
  permanent: "The partner refused this event; a real one would be dead-lettered.",
  misconfigured: "No event will pass until the configuration, here or there, is mended.",
};

/** A bar for each phase, as long as it took. */
function bars(phases) {
  const longest = Math.max(...phases.map((phase) => phase.ms), 1);
  return make("dl", { class: "phases" }, ...phases.map((phase) => make("div", {},
    make("dt", {}, phase.name.replaceAll("_", " ")),
    make("dd", {}, make("meter", { min: 0, max: longest, value: phase.ms, "aria-hidden": "true" }), milliseconds(phase.ms)))));
}

/** The dialog: a function of the endpoint. */
export function trial(announce) {
  const view = dialog("test");
  let name = null;

  async function send() {
    const asked = name;
    const type = view.event_type.value.trim();
    const trigger = view.event_trigger.value.trim();
    if (Boolean(type) !== Boolean(trigger)) {
      view.said.textContent = "Give both type and trigger, or neither.";
      return;
    }
    mark(true);
    view.said.textContent = "Sending…";
    view.body.replaceChildren();
    try {
      const result = await post(endpointPath(asked, "test"), type ? { event_type: type, event_trigger: trigger } : {});
      const words = `${WORDS[result.outcome] ?? ""} It took ${milliseconds(result.took_ms)}.`;
      announce(`Test of ${asked}: ${result.outcome}.`);
      if (asked !== name) return;
      view.said.textContent = words;
      view.body.replaceChildren(outcome(result),
        ...(result.remedy ? [make("p", { class: "remedy" }, make("strong", {}, "What to do: "), result.remedy)] : []),
        bars(result.phases ?? []),
        make("p", { class: "fine" }, "Event id ", make("span", { class: "code" }, result.event_id)));
    } catch (error) {
      if (asked === name) view.said.textContent = error.words ?? String(error);
    } finally {
      mark(false);
    }
  }

  // Not disabled: a disabled button would lose the focus.
  let busy = false;
  function mark(on) {
    busy = on;
    view.send.setAttribute("aria-disabled", String(on));
  }

  view.form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!busy) send();
  });
  return (endpoint) => {
    name = endpoint.name;
    view.title.textContent = `Send a test event: ${name}`;
    view.form.reset();
    view.said.textContent = "";
    view.body.replaceChildren();
    view.open();
    view.send.focus();
  };
}
