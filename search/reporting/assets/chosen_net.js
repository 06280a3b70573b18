// The panel of the chosen net.

const choose = (number, { scroll = false, focus = false } = {}) => {
  chosen = number;
  const panel = document.getElementById("chosen");
  if (!panel) return;
  panel.replaceChildren(...describe(byNumber.get(number)));
  panel.querySelectorAll("figure.plot").forEach((figure) => watcher.observe(figure));
  document
    .querySelectorAll("tr[data-net]")
    .forEach((row) => row.classList.toggle("chosen", Number(row.dataset.net) === number));
  figures()
    .filter((f) => f.dataset.drawn && "nets" in f.dataset && visible(f))
    .forEach(draw);
  const status = document.getElementById("chosen-status");
  if (status) status.textContent = `Trial ${number} is chosen.`;
  if (scroll) panel.scrollIntoView({ block: "start" });
  if (focus) panel.querySelector("h3").focus();
};

// The net of the front that is nearest to the chosen one in the first objective.
const nearest = () => {
  const value = (n) => ((byNumber.get(n) || {}).values || [0])[0];
  const apart = data.front.map((n) => Math.abs(value(n) - value(chosen)));
  return apart.indexOf(Math.min(...apart));
};

const step = (by) => {
  const at = data.front.indexOf(chosen);
  const next = at < 0 ? nearest() : Math.min(data.front.length - 1, Math.max(0, at + by));
  choose(data.front[next]);
};

const number = (value) =>
  typeof value === "number"
    ? Number.isInteger(value)
      ? String(value)
      : String(Number(value.toPrecision(4)))
    : String(value);
const figureText = (value, digits = 1) =>
  value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const range = ([low, high], digits = 1) =>
  ` [${figureText(low, digits)}, ${figureText(high, digits)}]`;
// An objective in its unit, and its interval, "" if that is not known.
const valueText = (value, i) => figureText(value, data.digits[i]);
const rangeText = (ends, i) => (ends[0] === ends[1] ? "" : range(ends, data.digits[i]));

const describe = (trial) => {
  const place = data.front.indexOf(trial.n);
  const head = make(
    "div",
    { class: "head" },
    make(
      "h3",
      { tabindex: "-1" },
      `Trial ${trial.n}: ${
        place < 0
          ? trial.state + ", not on the front"
          : `net ${place + 1} of ${data.front.length} on the front`
      }`,
    ),
    make(
      "span",
      { class: "controls screen" },
      make(
        "button",
        { type: "button", onclick: () => step(-1), ...(place === 0 ? { disabled: "" } : {}) },
        `← Better ${data.shortAims[0].toLowerCase()}`,
      ),
      make(
        "button",
        {
          type: "button",
          onclick: () => step(1),
          ...(place === data.front.length - 1 ? { disabled: "" } : {}),
        },
        `Better ${data.shortAims[1].toLowerCase()} →`,
      ),
    ),
  );
  return [
    head,
    ...marks(trial),
    facts(trial),
    ...curves(trial),
    ...examples(trial),
    ...commands(trial),
  ];
};

const marks = (trial) => [
  ...(trial.roles
    ? [make("p", { class: "note" }, `Recommended as ${trial.roles.join(", ")}.`)]
    : []),
  ...(trial.marks || []).map(([name, text]) =>
    make("p", {}, make("span", { class: "flag" }, name), `: ${text}.`),
  ),
];

const facts = (trial) => {
  const list = make("dl", { class: "facts" });
  const add = (name, value) =>
    list.append(make("div", {}, make("dt", {}, name), make("dd", {}, value)));
  const best = trial.final || trial;
  if (best.values) {
    best.values.forEach((value, i) =>
      add(
        data.shortAims[i] + (trial.final ? ", mean of fresh seeds" : ""),
        make(
          "span",
          {},
          make("b", {}, valueText(value, i)),
          make("span", { class: "pm" }, rangeText(best.intervals[i], i)),
        ),
      ),
    );
  }
  if (trial.final) {
    add("Search score, which selected it", trial.values.map(valueText).join(" / "));
    add("Fresh seeds", String(trial.final.seeds));
  }
  if (trial.gap)
    add(
      "Masking gap in the search (points)",
      `${figureText(trial.gap[0])}${range(trial.gap.slice(1))}${trial.flagged ? ", flagged" : ""}`,
    );
  for (const [name, value] of Object.entries(trial.params)) add(name, number(value));
  if (trial.why) add("Reason", trial.why);
  if (trial.remarks) add("Remarks", trial.remarks.join("; "));
  return list;
};

const bars = (rows) => ({
  type: "data",
  symmetric: false,
  thickness: 1,
  width: 3,
  array: rows.map((row) => Math.max(0, row[3] - row[1])),
  arrayminus: rows.map((row) => Math.max(0, row[1] - row[2])),
});
const asRadius = (eps) =>
  Math.abs(255 * eps - Math.round(255 * eps)) < 1e-3 && eps
    ? `${Math.round(255 * eps)}/255`
    : String(eps);

const commands = (trial) => {
  if (!trial.file) return [];
  return [
    make("h4", {}, "Commands"),
    ...data.commands.flatMap(([what, command]) => [
      make("div", {}, what),
      commandLine(
        command
          .replaceAll("@FILE@", () => trial.file)
          .replaceAll("@NUMBER@", String(trial.n).padStart(4, "0")),
      ),
    ]),
  ];
};
const commandLine = (text) =>
  make(
    "div",
    { class: "command" },
    make("pre", {}, make("code", {}, text)),
    copyButton(() => text),
  );
const copyButton = (read) => {
  const button = make("button", { type: "button", class: "copy" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(read());
      button.textContent = "Copied";
    } catch {
      const range = document.createRange();
      range.selectNodeContents(button.parentElement.querySelector("code"));
      const selection = getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
      button.textContent = "Selected";
    }
  });
  return button;
};
