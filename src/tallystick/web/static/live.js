// What changes by itself as it is now, and forms that are sent once. Without this script pages show what was when they were made.
"use strict";

(() => {
  const EVERY = 5000;

  const place = document.querySelector("[data-live]");
  let timer = null;

  async function look() {
    if (document.hidden) return;
    const seen = place.firstElementChild.dataset.seen;
    let answer;
    try {
      answer = await fetch(`${place.dataset.live}&seen=${seen}`, { credentials: "same-origin" });
    } catch {
      return; // The server is away: the next look may find it.
    }
    if (answer.status === 401) {
      clearInterval(timer);
      document.querySelector("[data-ended]").hidden = false;
    } else if (answer.status === 200) {
      const link = place.contains(document.activeElement) && document.activeElement.getAttribute("href");
      place.innerHTML = await answer.text();
      if (link) place.querySelector(`a[href="${CSS.escape(link)}"]`)?.focus({ preventScroll: true });
    }
  }

  if (place) {
    timer = setInterval(look, EVERY);
    document.addEventListener("visibilitychange", look);
  }

  for (const form of document.querySelectorAll("form[method=post]")) {
    form.addEventListener("submit", (event) => {
      if (form.dataset.sent) event.preventDefault();
      form.dataset.sent = "yes";
    });
  }

  // A page that comes back from the browser's memory may be sent anew.
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
})();
