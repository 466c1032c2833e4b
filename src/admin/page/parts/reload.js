// Reads the configuration anew, and shows what changed or everything that is wrong with it.

import { post } from "./api.js";
import { dialog, make } from "./dom.js";
import { things } from "./format.js";

const problem = ({ path, file, message, hint }) => make("li", {},
  make("p", {}, make("span", { class: "code" }, path ?? ""), path ? ": " : "", message ?? ""),
  hint ? make("p", { class: "remedy" }, make("strong", {}, "What to do: "), hint) : null,
  file ? make("p", { class: "soft code" }, file) : null);

/** The dialog: a function without arguments. */
export function reloader(announce) {
  const view = dialog("reload");
  let busy = false;

  return async () => {
    view.open();
    if (busy) return;
    busy = true;
    view.said.textContent = "Reading the configuration…";
    view.body.replaceChildren();
    try {
      const { added = [], removed = [], changed = [], unchanged, configuration } = await post("api/reload");
      const moved = added.length + removed.length + changed.length;
      view.said.textContent = moved
        ? `The new configuration ${configuration} is in force.`
        : `Nothing differs: the configuration ${configuration} goes on.`;
      const lines = [["Added", added], ["Removed", removed], ["Changed", changed]].filter(([, names]) => names.length);
      view.body.append(make("dl", { class: "changes" }, ...lines.map(([word, names]) =>
        make("div", {}, make("dt", {}, word), make("dd", {}, names.join(", ")))),
        make("div", {}, make("dt", {}, "Unchanged"), make("dd", {}, things(unchanged, "endpoint")))));
      announce("The configuration was reloaded.");
    } catch (error) {
      const problems = error.problems ?? [];
      view.said.textContent = problems.length
        ? `${things(problems.length, "problem")}: the old configuration goes on.`
        : error.words ?? String(error);
      if (problems.length) view.body.append(make("ol", { class: "problems" }, ...problems.map(problem)));
    } finally {
      busy = false;
    }
  };
}
