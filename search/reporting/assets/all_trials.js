// The table of all trials: sorted, filtered, shown in parts.

const PAGE_ROWS = 50;
const columns = () => [
  ["Trial", (t) => t.n],
  ["State", (t) => t.state + (onFront.has(t.n) ? ", front" : "")],
  ...data.shortAims.map((name, i) => [
    name,
    (t) => (t.values ? t.values[i] : null),
    (t) => (t.values ? valueText(t.values[i], i) + rangeText(t.intervals[i], i) : "–"),
  ]),
  [
    "Masking gap",
    (t) => (t.gap ? t.gap[0] : null),
    (t) => (t.gap ? figureText(t.gap[0]) + (t.flagged ? " flagged" : "") : "–"),
  ],
  ...data.knobs.map((name) => [
    name,
    (t) =>
      typeof t.params[name] === "boolean" ? String(t.params[name]) : (t.params[name] ?? null),
  ]),
  ["Seconds", (t) => t.seconds],
  ["Proposed by", (t) => t.origin],
  [
    "Remarks",
    (t) =>
      [...(t.marks || []).map(([name]) => name), ...(t.remarks || []), t.why]
        .filter(Boolean)
        .join("; "),
  ],
];
const COMPARE = {
  "<": (a, b) => a < b,
  ">": (a, b) => a > b,
  "<=": (a, b) => a <= b,
  ">=": (a, b) => a >= b,
  "=": (a, b) => a === b,
};
const condition = (word, all) => {
  const found = word.match(/^([^<>=]+)(<=|>=|<|>|=)(.+)$/);
  const column =
    found &&
    all.find(([name]) => name.toLowerCase().replaceAll(" ", "-") === found[1].toLowerCase());
  if (!column)
    return (trial) =>
      all.some(([, value, text]) =>
        String(text ? text(trial) : (value(trial) ?? ""))
          .toLowerCase()
          .includes(word.toLowerCase()),
      );
  return (trial) => {
    const value = column[1](trial);
    if (value === null || value === undefined) return false;
    const given = typeof value === "number" ? Number(found[3]) : found[3].toLowerCase();
    return COMPARE[found[2]](
      typeof value === "number" ? value : String(value).toLowerCase(),
      given,
    );
  };
};

const trialsTable = (box) => {
  const all = columns();
  const state = { by: 0, down: false, limit: PAGE_ROWS };
  const head = make("tr");
  const body = make("tbody");
  const note = make("p", { class: "note", role: "status" });
  const more = make("button", { type: "button", class: "screen" }, "Show more");
  const search = box.querySelector("input");
  const which = box.querySelector("select");
  all.forEach(([name], i) =>
    head.append(
      make(
        "th",
        { scope: "col" },
        make(
          "button",
          {
            type: "button",
            class: "sort",
            onclick: () => {
              state.down = state.by === i ? !state.down : false;
              state.by = i;
              show();
            },
          },
          name,
        ),
      ),
    ),
  );
  const rows = () => {
    const words = search.value
      .trim()
      .split(/\s+/)
      .filter(Boolean)
      .map((word) => condition(word, all));
    const kept = data.trials.filter(
      (t) =>
        words.every((fits) => fits(t)) &&
        (which.value === "all" ||
          which.value === t.state ||
          (which.value === "front" && onFront.has(t.n)) ||
          (which.value === "flagged" && (t.flagged || (t.marks || []).length))),
    );
    const value = all[state.by][1];
    const sign = state.down ? -1 : 1;
    return kept.sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === y) return a.n - b.n;
      if (x === null || x === undefined || x === "") return 1;
      if (y === null || y === undefined || y === "") return -1;
      return (
        sign *
        (typeof x === "number" && typeof y === "number"
          ? x - y
          : String(x).localeCompare(String(y)))
      );
    });
  };
  const show = () => {
    const kept = rows();
    [...head.children].forEach((th, i) =>
      th.setAttribute(
        "aria-sort",
        i !== state.by ? "none" : state.down ? "descending" : "ascending",
      ),
    );
    [...head.children].forEach((th, i) => {
      th.firstChild.textContent = all[i][0] + (i !== state.by ? "" : state.down ? " ↓" : " ↑");
    });
    body.replaceChildren(
      ...kept.slice(0, state.limit).map((trial) =>
        make(
          "tr",
          { "data-net": trial.n, class: trial.n === chosen ? "chosen" : null },
          ...all.map(([, value, text], i) =>
            i === 0
              ? make(
                  "th",
                  { scope: "row" },
                  make(
                    "button",
                    {
                      type: "button",
                      class: "link",
                      onclick: () => choose(trial.n, { scroll: true, focus: true }),
                    },
                    String(trial.n),
                  ),
                )
              : make(
                  "td",
                  {},
                  text
                    ? text(trial)
                    : value(trial) === null || value(trial) === undefined || value(trial) === ""
                      ? "–"
                      : number(value(trial)),
                ),
          ),
        ),
      ),
    );
    note.textContent = `${Math.min(state.limit, kept.length)} of ${kept.length} trials shown${kept.length < data.trials.length ? `, ${data.trials.length} in all` : ""}.`;
    more.hidden = kept.length <= state.limit;
  };
  more.addEventListener("click", () => {
    state.limit += 200;
    show();
  });
  for (const kind of ["input", "change"])
    search.addEventListener(kind, () => {
      state.limit = PAGE_ROWS;
      show();
    });
  which.addEventListener("change", () => {
    state.limit = PAGE_ROWS;
    show();
  });
  box.append(
    boxed(
      "All trials",
      make("table", {}, make("caption", {}, "All trials"), make("thead", {}, head), body),
    ),
    note,
    more,
  );
  show();
};
