// Filters the lists of tables. The page is whole without this script.
(() => {
  "use strict";
  const field = document.getElementById("find");
  const found = document.getElementById("found");
  const lineage = document.getElementById("lineage");
  const rows = [...document.querySelectorAll("tr[data-find]")];
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const texts = rows.map((row) => plain(row.dataset.find));
  const show = () => {
    const words = plain(field.value).split(/\s+/).filter(Boolean);
    let count = 0;
    rows.forEach((row, at) => {
      const fits = words.every((word) => texts[at].includes(word));
      row.hidden = !fits;
      count += fits ? 1 : 0;
    });
    for (const kind of document.querySelectorAll("section.kind")) kind.hidden = !kind.querySelector("tr[data-find]:not([hidden])");
    if (lineage) lineage.hidden = words.length > 0;
    found.textContent = words.length > 0 ? `${count} of ${rows.length} tables` : "";
  };
  field.addEventListener("input", show);
  field.form.addEventListener("submit", (event) => event.preventDefault());
  field.form.hidden = false;
  show();
})();
