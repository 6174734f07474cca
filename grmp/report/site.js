// Light or dark, and a search over what stands on the page. Nothing is fetched; texts are only ever set as text.
(() => {
  const root = document.documentElement;
  const kept = (() => { try { return localStorage.getItem("look"); } catch { return null; } })();
  if (kept === "light" || kept === "dark") root.dataset.look = kept;
  document.getElementById("look").addEventListener("click", () => {
    const dark = root.dataset.look ? root.dataset.look === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.look = dark ? "light" : "dark";
    try { localStorage.setItem("look", root.dataset.look); } catch { /* file pages may keep nothing */ }
  });

  // a link into a folded part unfolds it
  const unfold = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    const folded = target.closest("details");
    if (folded) folded.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", unfold);
  unfold();

  // every element with data-find is a place: found by that name, its text and its pictures' words; where it comes from is not text
  const places = [...document.querySelectorAll("[data-find]")].map((place) => {
    const copy = place.cloneNode(true);
    for (const inner of copy.querySelectorAll(".origin, [data-find]")) inner.remove();
    const name = place.dataset.find;
    const words = [...copy.querySelectorAll("img")].map((picture) => picture.alt);
    return { id: place.id, name, low: name.toLowerCase(), text: [place.id, name, copy.textContent, ...words].join(" ").toLowerCase() };
  });
  const box = document.getElementById("words"), list = document.getElementById("found"), count = document.getElementById("count");
  const most = 30;
  const search = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    const has = (text) => words.every((word) => text.includes(word));
    const found = words.length ? places.filter((place) => has(place.text)) : [];
    found.sort((a, b) => has(b.low) - has(a.low)); // by name first; otherwise in the page's order
    list.replaceChildren(...found.slice(0, most).map((place) => {
      const link = document.createElement("a");
      link.href = "#" + encodeURIComponent(place.id);
      link.textContent = place.name;
      const item = document.createElement("li");
      item.append(link);
      return item;
    }));
    count.textContent = words.length ? `${found.length} found${found.length > most ? `, the first ${most} are shown` : ""}` : "";
  };
  box.addEventListener("input", search);
  document.getElementById("search").hidden = false;
})();
