"use strict";
// Searching, sorting and opening. All that the page tells can be read without it.
(() => {
  const find = document.getElementById("find");
  const found = document.getElementById("found");
  const realms = [...document.querySelectorAll("details.realm")];
  const tables = [...document.querySelectorAll("#overview table, #imports table, #distributions table, #missing table")];
  document.getElementById("search").hidden = false;

  // What each part is searched for. Made when it is first needed: it reads the whole page.
  let parts = null;
  const prepare = () => {
    const text = (one) => one.textContent.toLowerCase();
    const ofRealm = new Map(realms.map((one) => [one.id, text(one)]));
    parts = [{ one: "realm", many: "realms", said: true, items: realms.map((item) => ({ item, text: ofRealm.get(item.id) })) }];
    const names = { imports: ["import", "imports"], distributions: ["distribution", "distributions"], missing: ["module not found", "modules not found"] };
    for (const table of tables) {
      const section = table.closest("section").id;
      const items = [...table.tBodies[0].rows].map((item) => ({
        item,
        text: section === "overview" ? ofRealm.get(item.dataset.realm) : text(item),
      }));
      const [one, many] = names[section] ?? ["", ""];
      parts.push({ one, many, said: section !== "overview", items });
    }
  };

  const search = () => {
    if (!parts) prepare();
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const said = [];
    let all = 0;
    for (const part of parts) {
      let count = 0;
      for (const { item, text } of part.items) {
        const shown = words.every((word) => text.includes(word));
        item.hidden = !shown;
        if (shown) count += 1;
      }
      part.items[0].item.closest("section").hidden = !count;
      if (part.said) {
        all += count;
        said.push(`${count} of ${part.items.length} ${part.items.length === 1 ? part.one : part.many}`);
      }
    }
    if (!words.length) found.textContent = "";
    else if (!all) found.textContent = "Nothing on this page has that in it.";
    else found.textContent = `${said.join(", ")}.`;
  };

  let waiting = 0;
  find.addEventListener("input", () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(search);
  });
  find.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && find.value) {
      find.value = "";
      search();
      event.preventDefault();
    }
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target instanceof HTMLInputElement;
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      find.focus();
      event.preventDefault();
    }
  });

  const openAll = (open) => {
    for (const one of realms) if (!one.hidden) one.open = open;
  };
  document.getElementById("open").addEventListener("click", () => openAll(true));
  document.getElementById("close").addEventListener("click", () => openAll(false));

  // A link to a realm opens it.
  const follow = () => {
    const target = realms.find((one) => `#${one.id}` === location.hash);
    if (!target) return;
    target.hidden = false;
    target.open = true;
    target.scrollIntoView();
    target.querySelector("summary").focus({ preventScroll: true });
  };
  addEventListener("hashchange", follow);
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href^='#r'], a[href='#main']");
    if (link && link.hash === location.hash) follow();
  });
  follow();

  // Columns are sorted by a real button in their header.
  for (const table of document.querySelectorAll("table[data-sort]")) {
    const body = table.tBodies[0];
    if (body.rows.length < 2) continue;
    [...table.tHead.rows[0].cells].forEach((cell, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...cell.childNodes);
      cell.append(button);
      button.addEventListener("click", () => {
        const numbers = cell.classList.contains("number");
        const down = cell.ariaSort ? cell.ariaSort === "ascending" : numbers;
        for (const one of table.tHead.rows[0].cells) one.removeAttribute("aria-sort");
        cell.setAttribute("aria-sort", down ? "descending" : "ascending");
        const value = (row) => {
          const one = row.cells[index];
          return numbers ? Number(one.dataset.value ?? -1) : one.textContent.trim();
        };
        const rows = [...body.rows].map((row) => [value(row), row]);
        const order = numbers ? (a, b) => a[0] - b[0] : (a, b) => a[0].localeCompare(b[0], "en", { numeric: true });
        rows.sort((a, b) => (down ? -order(a, b) : order(a, b)));
        body.append(...rows.map(([, row]) => row));
      });
    });
  }

  // What is closed is printed, too.
  const closed = [];
  addEventListener("beforeprint", () => {
    for (const one of document.querySelectorAll("details:not([open])")) {
      one.open = true;
      closed.push(one);
    }
  });
  addEventListener("afterprint", () => {
    for (const one of closed.splice(0)) one.open = false;
  });
})();
