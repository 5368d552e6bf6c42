// The section that is being read stands out in the bar at the top.
"use strict";

const links = new Map([...document.querySelectorAll("header nav a")].map((link) => [link.hash.slice(1), link]));
const seen = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) links.get(target.id)?.toggleAttribute("data-seen", isIntersecting);
  },
  { rootMargin: "-20% 0px -70% 0px" },
);
for (const section of document.querySelectorAll("main > section")) seen.observe(section);

