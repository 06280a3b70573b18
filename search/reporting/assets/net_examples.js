// Images, classes and confusions of the chosen net.

const examples = (trial) => {
  const found = trial.examples;
  if (!found) {
    const why = onFront.has(trial.n)
      ? "This run has stored no images and predictions of this net: it is older than they are, or its files are elsewhere."
      : "Images, classes and confusions are kept on this page for the nets of the front.";
    return [make("h4", {}, "Test images and classes"), make("p", { class: "none" }, why)];
  }
  const split = `${found.split} images`;
  const pictures = found.shown.map((one) =>
    make(
      "div",
      { class: "picture" },
      make(
        "div",
        {},
        make("img", { src: one.image, alt: `an image of ${one.label}` }),
        make("img", { src: one.change, alt: "its perturbation, ten times enlarged" }),
        make("img", { src: one.attacked, alt: `the attacked image, predicted ${one.after}` }),
      ),
      make(
        "p",
        {},
        make("b", {}, one.label),
        one.before === one.label ? " ✓ " : ` taken for ${one.before} ✗ `,
        one.before !== one.label
          ? "without an attack"
          : one.after === one.label
            ? "stands up to the attack ✓"
            : `under attack ${one.after} ✗`,
      ),
    ),
  );
  return [
    make(
      "h4",
      {},
      `${split[0].toUpperCase()}${split.slice(1)}, their perturbations and predictions`,
    ),
    make(
      "p",
      { class: "note" },
      `Image, perturbation times ten (grey is none), attacked image: ${found.attack}, ten steps. An image that is wrong already is not attacked.`,
    ),
    make("div", { class: "pictures" }, ...pictures),
    make("div", { class: "columns" }, classTable(found, trial), confusionBox(found)),
  ];
};

const meter = (value, kind) =>
  make(
    "span",
    { class: `meter ${kind}`, "aria-hidden": "true" },
    make("i", { style: `width:${value}%` }),
  );
const boxed = (label, table) =>
  make("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": label }, table);
const classTable = (found, trial) => {
  const attacked = found.rows.some((row) => row[3] !== null);
  const heads = ["Class", "Images", "Natural (%)", ...(attacked ? ["Attacked (%)"] : [])];
  const rows = found.rows.map(([name, n, natural, under]) =>
    make(
      "tr",
      {},
      make("th", { scope: "row" }, name),
      make("td", {}, String(n)),
      make("td", {}, figureText(natural), meter(natural, "")),
      ...(attacked ? [make("td", {}, figureText(under), meter(under, "attacked"))] : []),
    ),
  );
  const label = `Accuracy by class, ${found.images} ${found.split} images`;
  return make(
    "div",
    {},
    make("h4", {}, "Accuracy by class"),
    boxed(
      label,
      make(
        "table",
        {},
        make("caption", {}, label),
        make("thead", {}, make("tr", {}, ...heads.map((h) => make("th", { scope: "col" }, h)))),
        make("tbody", {}, ...rows),
      ),
    ),
    make(
      "p",
      { class: "note" },
      `${found.images} ${found.split} images${attacked ? "; attacked by the battery that scored it, at " + found.attack.split(", ")[1] : ""}.`,
    ),
  );
};

const confusionBox = (found) => {
  const body = make("div");
  const show = (kind) => body.replaceChildren(confusion(found, kind));
  const picker = make(
    "select",
    { "aria-label": "Which confusions" },
    make("option", { value: "natural" }, "without an attack"),
    make("option", { value: "attacked" }, "under attack"),
  );
  picker.addEventListener("change", () => show(picker.value));
  show("natural");
  return make(
    "div",
    {},
    make("h4", {}, "Confusions"),
    make("div", { class: "controls" }, picker),
    body,
  );
};

const confusion = (found, kind) => {
  const counts = found[kind];
  const n = kind === "natural" ? found.images : found.attackedImages;
  const label = `What ${n} ${found.split} images are taken for, ${kind === "natural" ? "without an attack" : "under " + found.attack}`;
  if (found.classes.length > counts.length || counts.some((row) => typeof row[0] === "string"))
    return pairs(counts, label);
  const top = Math.max(1, ...counts.flat());
  const rows = counts.map((row, i) =>
    make(
      "tr",
      {},
      make("th", { scope: "row" }, found.classes[i]),
      ...row.map((count, j) => {
        const share = count / top;
        const style = count
          ? `background:rgba(var(--shade),${(0.1 + 0.4 * share).toFixed(2)})`
          : null;
        return make("td", { style, class: i === j ? "right" : null }, count ? String(count) : "·");
      }),
    ),
  );
  return make(
    "div",
    {},
    boxed(
      label,
      make(
        "table",
        { class: "confusion" },
        make("caption", {}, label),
        make(
          "thead",
          {},
          make(
            "tr",
            {},
            make("td", {}, "is \\ taken for"),
            ...found.classes.map((name) => make("th", { scope: "col" }, name)),
          ),
        ),
        make("tbody", {}, ...rows),
      ),
    ),
    make("p", { class: "note" }, label + "."),
  );
};
const pairs = (counts, label) =>
  make(
    "div",
    {},
    boxed(
      label,
      make(
        "table",
        {},
        make("caption", {}, label),
        make(
          "thead",
          {},
          make(
            "tr",
            {},
            ...["Class", "Taken for", "Images"].map((h) => make("th", { scope: "col" }, h)),
          ),
        ),
        make(
          "tbody",
          {},
          ...counts.map(([is, as, n]) =>
            make(
              "tr",
              {},
              make("th", { scope: "row" }, is),
              make("td", {}, as),
              make("td", {}, String(n)),
            ),
          ),
        ),
      ),
    ),
    make("p", { class: "note" }, label + ": the most frequent mistakes."),
  );
