// Search, filter and copy. Everything the page says is there without this script; people arrive as text and are shown as text.
(() => {
  "use strict";
  const SHOWN = 200;
  const data = JSON.parse(document.getElementById("data").textContent);
  const query = document.getElementById("q");
  const box = document.getElementById("box");
  const body = document.getElementById("people");
  const found = document.getElementById("found");
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const number = (count) => String(count).replace(/\B(?=(\d{3})+$)/g, "\u202f");
  const haystack = data.people.map((person) => plain(`${person[1]} ${person[2]} ${person[0]}`));

  const counts = new Map();
  for (const person of data.people) {
    const key = data.boxes[person[3]][0];
    counts.set(key, (counts.get(key) || 0) + 1);
  }
  const words = new Map(data.boxes.map(([key, text]) => [key, key === "outranked" ? "gets another message of ours first" : text]));
  for (const [key, text] of words) {
    box.add(new Option(`${text} (${number(counts.get(key))})`, key));
  }

  const cell = (row, parts) => {
    const td = row.insertCell();
    for (const [tag, text] of parts) {
      const element = document.createElement(tag);
      element.textContent = text;
      if (tag === "span") element.className = "id";
      td.append(element);
    }
  };
  const show = () => {
    const wanted = plain(query.value).split(/\s+/).filter(Boolean);
    const rows = document.createDocumentFragment();
    let matches = 0;
    data.people.forEach((person, at) => {
      const [key, text] = data.boxes[person[3]];
      if (box.value !== "*" && box.value !== key) return;
      if (!wanted.every((word) => haystack[at].includes(word))) return;
      matches += 1;
      if (matches > SHOWN) return;
      const row = document.createElement("tr");
      if (key === "") row.className = "yes";
      cell(row, [["bdi", person[1] || "no name"], ["span", person[0]]]);
      cell(row, [["bdi", person[2] || "–"]]);
      cell(row, [["bdi", person[4] ? `${text}, variant ${person[4]}` : text]]);
      rows.append(row);
    });
    body.replaceChildren(rows);
    const all = number(data.people.length);
    found.textContent = matches > SHOWN
      ? `The first ${SHOWN} of ${number(matches)} found among ${all}. Type more of a name to narrow it down.`
      : `${number(matches)} of ${all}`;
  };
  let waiting;
  query.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(show, 120);
  });
  box.addEventListener("change", show);
  document.querySelector(".search").addEventListener("submit", (event) => event.preventDefault());
  document.querySelector(".search").hidden = false;
  show();

  for (const button of document.querySelectorAll(".who")) {
    button.hidden = !counts.has(button.dataset.box);
    button.addEventListener("click", () => {
      box.value = button.dataset.box;
      query.value = "";
      show();
      document.getElementById("h-everybody").scrollIntoView({ block: "start" });
      query.focus({ preventScroll: true });
    });
  }
  for (const button of document.querySelectorAll(".copy")) {
    const words = button.firstChild;
    button.hidden = false;
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(button.dataset.copy);
        words.textContent = "Copied";
      } catch {
        const range = document.createRange();
        range.selectNodeContents(button.previousElementSibling);
        getSelection().removeAllRanges();
        getSelection().addRange(range);
        words.textContent = "Selected";
      }
      setTimeout(() => { words.textContent = "Copy"; }, 2000);
    });
  }
})();
