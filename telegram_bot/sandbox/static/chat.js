// The chat. Everything a bot or a person wrote reaches the page as text nodes, never as markup.

const $ = (id) => document.getElementById(id);
const app = $("app");
let state = null;
let shownChat = "";
let shownWire = "";
const nodes = new Map(); // message and forward nodes by place, so that what has not changed keeps its focus

/* Small tools */

function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return node;
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  svg.setAttribute("aria-hidden", "true");
  return svg;
}

async function ask(path, body, method = body === undefined ? "GET" : "POST") {
  const init = { method };
  if (body !== undefined) Object.assign(init, { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });
  const response = await fetch(`/local/${path}`, init);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

/** Runs what a person asked for, and shows why when it cannot be. */
function doing(act) {
  return async (event) => {
    try {
      await act(event);
    } catch (error) {
      toast(error.message);
    }
  };
}

let toastTimer;
function toast(text) {
  $("toast").textContent = text;
  $("toast").classList.add("on");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => $("toast").classList.remove("on"), 3500);
}

function money(amount, currency) {
  if (currency === "XTR") return `★ ${amount.toLocaleString("en")}`;
  try {
    const format = new Intl.NumberFormat("en", { style: "currency", currency });
    return format.format(amount / 10 ** format.resolvedOptions().maximumFractionDigits);
  } catch {
    return `${amount} ${currency}`;
  }
}

const clock = (date) => new Date(date * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = (date) => new Date(date * 1000).toLocaleDateString([], { day: "numeric", month: "long", year: "numeric" });
const initial = (name) => [...name.trim()][0]?.toUpperCase() ?? "?";
const colour = (id) => `a${id % 7}`;
const me = () => state?.people.find((person) => String(person.id) === location.hash.slice(1));

/* Text with its entities: offsets count UTF-16 units, as strings do here */

const TAGS = { bold: "strong", italic: "em", underline: "u", strikethrough: "s", code: "code", pre: "pre", blockquote: "blockquote" };

function formatted(text, entities = []) {
  const sorted = [...entities].sort((a, b) => a.offset - b.offset || b.length - a.length);
  const part = (from, to) => {
    const out = [];
    let at = from;
    while (sorted.length && sorted[0].offset < to) {
      const entity = sorted.shift();
      if (entity.offset < at) continue;
      out.push(text.slice(at, entity.offset));
      at = Math.min(entity.offset + entity.length, to);
      out.push(wrapped(entity, text.slice(entity.offset, at), part(entity.offset, at)));
    }
    out.push(text.slice(at, to));
    return out;
  };
  return part(0, text.length);
}

function wrapped(entity, plain, inside) {
  if (entity.type === "bot_command") return h("button", { type: "button", class: "command", onclick: doing(() => say(plain)) }, plain);
  if (entity.type === "url") return anchor(plain, inside);
  if (entity.type === "text_link") return anchor(entity.url, inside);
  if (entity.type === "spoiler") return h("span", { class: "spoiler", tabindex: 0 }, inside);
  return TAGS[entity.type] ? h(TAGS[entity.type], {}, inside) : h("span", {}, inside);
}

function anchor(address, inside) {
  if (!/^https?:\/\//i.test(address)) return h("span", {}, inside);
  const go = (event) => {
    if (!isInvoiceLink(address)) return;
    event.preventDefault();
    openLink(address);
  };
  return h("a", { href: address, target: "_blank", rel: "noopener noreferrer", onclick: go }, inside);
}

/* What people do */

const say = (text) => ask(`people/${me().id}/say`, { text });
const isInvoiceLink = (address) => address.startsWith("https://t.me/$");
const openLink = doing(async (link) => openCheckout(await ask(`people/${me().id}/open`, { link })));

const press = (message, button) => async (event) => {
  const node = event.currentTarget;
  if (button.pay) return openCheckout(state.chat.invoices[message.message_id]);
  if (button.copy_text) return navigator.clipboard.writeText(button.copy_text.text).then(() => toast("Copied"));
  if (button.web_app) return openMiniApp(button.web_app.url);
  if (button.url) return isInvoiceLink(button.url) ? openLink(button.url) : openAddress(button.url);
  if (button.callback_data === undefined) return toast("The local Telegram does not have this kind of button.");
  node.setAttribute("aria-busy", "true");
  try {
    const { answer } = await ask(`people/${me().id}/press`, { message_id: message.message_id, data: button.callback_data });
    if (!answer) toast("The bot has not answered this button.");
    else if (answer.url) openAddress(answer.url);
    else if (answer.text && answer.show_alert) showAlert(answer.text);
    else if (answer.text) toast(answer.text);
  } catch (error) {
    toast(error.message);
  } finally {
    node.removeAttribute("aria-busy");
  }
};

function openAddress(address) {
  if (/^https?:\/\//i.test(address)) window.open(address, "_blank", "noopener");
  else toast(`This leads to ${address}`);
}

async function openMiniApp(address) {
  const { init_data: initData } = await ask(`people/${me().id}/init_data`);
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const theme = JSON.stringify(dark ? { bg_color: "#1b2430", text_color: "#f2f5f8" } : { bg_color: "#ffffff", text_color: "#0f1419" });
  const launch = new URLSearchParams({ tgWebAppData: initData, tgWebAppVersion: "9.1", tgWebAppPlatform: "web", tgWebAppThemeParams: theme });
  const url = new URL(address);
  url.hash = launch;
  window.open(url, "_blank", "noopener");
}

function showAlert(text) {
  $("alert-text").textContent = text;
  $("alert").showModal();
}

/* Paying */

let invoice = null;

function openCheckout(card) {
  invoice = card;
  const total = money(card.total_amount, card.currency);
  $("checkout-title").textContent = card.title;
  $("checkout-text").textContent = card.description;
  $("prices").replaceChildren(
    ...card.prices.flatMap((price) => [h("dt", {}, price.label || "Price"), h("dd", {}, money(price.amount, card.currency))]),
    h("dt", { class: "total" }, card.subscription_period ? "Every 30 days" : "Total"),
    h("dd", { class: "total" }, total),
  );
  const others = state.people.filter((person) => person.id !== me().id);
  const note = card.currency === "XTR" ? "" : "A test card of the payment provider is used.";
  $("checkout-note").textContent = note;
  $("checkout-note").hidden = !note;
  $("forward").hidden = !card.chat_id || others.length === 0;
  $("forward-to").replaceChildren(h("option", { value: "" }, "…"), ...others.map((person) => h("option", { value: person.id }, person.first_name)));
  $("twice").hidden = false;
  $("confirm").disabled = false;
  $("confirm").textContent = `Confirm and pay ${total}`;
  showOutcome("", null);
  $("checkout").showModal();
  $("confirm").focus();
}

function showOutcome(kind, text, mark) {
  $("outcome").className = `outcome ${kind}`;
  $("outcome").hidden = text === null;
  $("outcome").replaceChildren(...(mark ? [icon(mark)] : []), h("span", {}, text ?? ""));
}

async function pay(times) {
  const paying = invoice;
  $("confirm").disabled = true;
  $("twice").hidden = true;
  $("forward").hidden = true;
  showOutcome("spin", "Asking the bot…");
  const attempts = Array.from({ length: times }, () => ask(`people/${me().id}/pay`, { invoice_id: paying.id }));
  try {
    const outcomes = await Promise.all(attempts);
    if (paying === invoice) tellOutcome(paying, outcomes);
  } catch (error) {
    if (paying === invoice) showOutcome("bad", error.message, "close");
  }
}

function tellOutcome(paying, outcomes) {
  const paid = outcomes.filter((outcome) => outcome.status === "paid").length;
  const total = money(paying.total_amount, paying.currency);
  const refused = outcomes.find((outcome) => outcome.status !== "paid");
  const reason = refused?.status === "declined" ? refused.sentence : "The bot did not answer in time. Nothing was charged.";
  if (paid && !refused) showOutcome("paid", paid > 1 ? `Paid ${total}, ${paid} times` : `Paid ${total}`, "check");
  else if (paid) showOutcome("paid", `Paid ${total} once. The other tap: ${reason}`, "check");
  else showOutcome("bad", reason, "close");
  $("confirm").textContent = "Done";
  $("confirm").disabled = false;
}

$("confirm").onclick = () => ($("confirm").textContent === "Done" ? $("checkout").close() : pay(1));
$("twice").onclick = () => pay(2);
$("forward-to").onchange = doing(async (event) => {
  const to = Number(event.target.value);
  if (!to) return;
  await ask(`people/${me().id}/forward`, { invoice_id: invoice.id, to });
  $("checkout").close();
  const person = state.people.find((one) => one.id === to);
  toast(`Forwarded to ${person.first_name}. Open their chat to try to pay it.`);
});

/* Showing people */

function showPeople() {
  $("people").replaceChildren(
    ...state.people.map((person) =>
      h(
        "button",
        { type: "button", class: "person", "aria-current": String(person.id === me()?.id), onclick: () => select(person.id) },
        h("span", { class: `avatar ${colour(person.id)}`, "aria-hidden": "true" }, initial(person.first_name)),
        h(
          "span",
          { class: "name" },
          h("span", { dir: "auto" }, person.first_name),
          person.language_code && h("span", { class: "tag" }, person.language_code),
          person.blocked && h("span", { class: "tag bad" }, "blocked the bot"),
        ),
        h("span", { class: "time" }, person.last ? clock(person.last.date) : ""),
        h("small", { dir: "auto" }, person.last ? summary(person.last) : "Has not written to the bot yet"),
      ),
    ),
  );
}

function summary(message) {
  if (message.invoice) return `Invoice: ${message.invoice.title}`;
  if (message.successful_payment) return `Paid ${money(message.successful_payment.total_amount, message.successful_payment.currency)}`;
  if (message.refunded_payment) return `Refunded ${money(message.refunded_payment.total_amount, message.refunded_payment.currency)}`;
  return message.text ?? "";
}

function select(id) {
  location.hash = id;
  app.dataset.view = "chat";
}

/* Showing the chat */

function showChat() {
  const person = me();
  $("nobody").hidden = state.people.length > 0;
  if (!state.people.length) app.dataset.view = "chat";
  if (!person || !state.chat) return;
  $("bot-name").textContent = state.bot.first_name;
  $("bot-avatar").textContent = initial(state.bot.first_name);
  $("as").textContent = `as ${person.first_name}${person.username ? ` · @${person.username}` : ""} · ${person.id}`;
  $("block").setAttribute("aria-pressed", String(person.blocked));
  $("block").setAttribute("aria-label", person.blocked ? "Unblock the bot" : "Block the bot");
  $("block").title = $("block").getAttribute("aria-label");
  const running = state.chat.subscriptions.filter((one) => one.expires_at > state.now).length;
  $("subscriptions").hidden = state.chat.subscriptions.length === 0;
  $("subscriptions").setAttribute("aria-label", `Subscriptions: ${running}`);
  $("subscriptions").title = "Subscriptions";
  $("subscriptions").querySelector("b").textContent = running || "";
  $("say").hidden = person.blocked || !person.started;
  $("start").hidden = !$("say").hidden;
  $("start").textContent = person.blocked ? "Unblock the bot" : "Start";
  showKeyboard();
  showMessages(person);
}

function showKeyboard() {
  const rows = state.chat.keyboard?.keyboard ?? [];
  $("keyboard").hidden = $("say").hidden || rows.length === 0;
  $("keyboard").replaceChildren(
    ...rows.map((row) =>
      h("div", {}, row.map((key) => h("button", { type: "button", onclick: doing(() => say(key.text ?? key)) }, key.text ?? key))),
    ),
  );
}

function showMessages(person) {
  const signature = JSON.stringify([person.id, state.chat]);
  if (signature === shownChat) return;
  const another = !shownChat.startsWith(`[${person.id},`);
  shownChat = signature;
  if (another) nodes.clear();
  const box = $("messages");
  const entries = [
    ...state.chat.messages.map((message) => ({ place: message.message_id, date: message.date, message })),
    ...state.chat.forwards.map((forward) => ({ place: forward.id, date: forward.date, forward })),
  ].sort((a, b) => a.place - b.place);
  const shown = [];
  let lastDay = "";
  for (const entry of entries) {
    if (day(entry.date) !== lastDay) shown.push(h("p", { class: "day" }, (lastDay = day(entry.date))));
    shown.push(node(entry));
  }
  if (!shown.length) {
    const words = state.chat.description || "This is what a new person sees: press Start, and the bot hears /start.";
    shown.push(h("p", { class: "service" }, words));
  }
  box.setAttribute("aria-live", another ? "off" : "polite");
  patch(box, shown);
  if (another || atEnd) scrollToEnd();
}

// Whoever reads the newest message goes on seeing the newest, also when the window changes.
let atEnd = true;
const scrollToEnd = () => ($("messages").scrollTop = $("messages").scrollHeight);
$("messages").onscroll = ({ target }) => (atEnd = target.scrollHeight - target.scrollTop - target.clientHeight < 80);
new ResizeObserver(() => atEnd && scrollToEnd()).observe($("messages"));

/** Like replaceChildren, but leaves nodes alone that stay where they are: they keep focus, and are not read out again. */
function patch(box, wanted) {
  wanted.forEach((child, index) => {
    if (box.children[index] !== child) box.insertBefore(child, box.children[index] ?? null);
  });
  while (box.children.length > wanted.length) box.lastChild.remove();
}

function node(entry) {
  const paid = entry.message?.invoice || entry.forward ? state.chat.paid : [];
  const signature = JSON.stringify([entry, paid]);
  const known = nodes.get(entry.place);
  if (known?.signature === signature) return known.node;
  const fresh = entry.forward ? forwardNode(entry.forward) : messageNode(entry.message);
  nodes.set(entry.place, { signature, node: fresh });
  return fresh;
}

function messageNode(message) {
  const payment = message.successful_payment ?? message.refunded_payment;
  if (payment) {
    const amount = h("b", {}, money(payment.total_amount, payment.currency));
    const words = message.refunded_payment
      ? [amount, " were refunded to you"]
      : ["You paid ", amount, payment.is_recurring ? (payment.is_first_recurring ? " for a subscription" : " to renew a subscription") : ""];
    return h("p", { class: "service" }, words);
  }
  const mine = !message.from.is_bot;
  const card = message.invoice && state.chat.invoices[message.message_id];
  const quoted = message.reply_to_message;
  const bubble = card
    ? invoiceNode(card, message)
    : h(
        "div",
        { class: "bubble" },
        quoted && h("span", { class: "quote", dir: "auto" }, summary(quoted)),
        h("span", { class: "text", dir: "auto" }, formatted(message.text ?? "", message.entities)),
        h("span", { class: "meta" }, message.edit_date ? "edited " : "", clock(message.date)),
      );
  return h("div", { class: `message${mine ? " mine" : ""}` }, bubble, buttonsNode(message, card));
}

function buttonsNode(message, card) {
  const rows = message.reply_markup?.inline_keyboard ?? (card ? [[{ text: `Pay ${money(card.total_amount, card.currency)}`, pay: true }]] : []);
  if (!rows.length) return null;
  return h(
    "div",
    { class: "rows" },
    rows.map((row) =>
      h(
        "div",
        {},
        row.map((button) =>
          h(
            "button",
            { type: "button", onclick: press(message, button) },
            button.text,
            (button.url || button.web_app) && h("span", { class: "out", "aria-hidden": "true" }, isInvoiceLink(button.url ?? "") ? "★" : "↗"),
          ),
        ),
      ),
    ),
  );
}

function invoiceNode(card, message, forward) {
  const times = state.chat.paid.filter((id) => id === card.id).length;
  return h(
    "div",
    { class: "bubble invoice" },
    forward && h("span", { class: "forwarded" }, `Forwarded from ${forward.from}`),
    h("div", { class: `price${card.currency === "XTR" ? "" : " fiat"}` }, money(card.total_amount, card.currency)),
    h(
      "div",
      { class: "body" },
      h("h3", { dir: "auto" }, card.title),
      h("p", { dir: "auto" }, card.description),
      times > 0 && h("span", { class: "badge" }, icon("check"), times > 1 ? `You paid this ${times} times` : "You paid this"),
      h("span", { class: "meta" }, clock((message ?? forward).date)),
    ),
  );
}

function forwardNode(forward) {
  const card = forward.invoice;
  const button = card.start_parameter
    ? h("button", { type: "button", onclick: doing(() => say(`/start ${card.start_parameter}`)) }, "Open the bot")
    : h("button", { type: "button", onclick: () => openCheckout(card) }, `Pay ${money(card.total_amount, card.currency)}`);
  return h("div", { class: "message" }, invoiceNode(card, null, forward), h("div", { class: "rows" }, h("div", {}, button)));
}

/* Writing */

$("say").onsubmit = doing(async (event) => {
  event.preventDefault();
  const text = $("text").value;
  if (!text.trim()) return;
  $("text").value = "";
  showCommands(false);
  await say(text);
});
$("start").onclick = doing(async () => {
  if (me().blocked) await ask(`people/${me().id}/unblock`, {});
  await say("/start");
  $("text").focus();
});
$("block").onclick = doing(() => ask(`people/${me().id}/${me().blocked ? "unblock" : "block"}`, {}));

function showCommands(open, prefix = "") {
  const commands = (state?.chat?.commands ?? []).filter((one) => one.command.startsWith(prefix));
  $("commands").hidden = !open || commands.length === 0;
  $("menu").setAttribute("aria-expanded", String(!$("commands").hidden));
  $("commands").replaceChildren(
    ...commands.map((one) =>
      h(
        "button",
        { type: "button", role: "menuitem", onclick: doing(() => (showCommands(false), ($("text").value = ""), say(`/${one.command}`))) },
        h("b", {}, `/${one.command}`),
        h("span", {}, one.description),
      ),
    ),
  );
}

$("menu").onclick = doing(() => {
  if (state.chat.menu_button?.type === "web_app") return openMiniApp(state.chat.menu_button.web_app.url);
  if (!state.chat.commands.length) return toast("The bot has not set any commands.");
  showCommands($("commands").hidden);
});
$("text").oninput = () => {
  const typed = $("text").value.match(/^\/(\w*)$/);
  showCommands(Boolean(typed), typed?.[1]);
};
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") showCommands(false);
});
document.addEventListener("click", (event) => {
  if (!event.target.closest(".composer")) showCommands(false);
});

/* People */

$("add-form").onsubmit = doing(async (event) => {
  event.preventDefault();
  const given = Object.fromEntries([...new FormData(event.target)].filter(([, value]) => value !== ""));
  await addPerson(given);
  event.target.reset();
  $("add").close();
});

async function addPerson(given) {
  const person = await ask("people", given);
  await refresh();
  select(person.id);
}

/* Time */

let shownSubscriptions = "";

function showTime() {
  $("now").textContent = `It is ${day(state.now)}, ${clock(state.now)}.`;
  $("followed").textContent = state.followed
    ? "Whatever falls due is renewed, or fails. The shop's clock goes along; it looks once a minute for what is over. There is no way back."
    : "Whatever falls due is renewed, or fails. The bot's own clock stays where it is. There is no way back.";
  showSubscriptions();
}

function showSubscriptions() {
  const subscriptions = state.chat?.subscriptions ?? [];
  const signature = JSON.stringify([me()?.id, subscriptions.map((one) => [one, one.expires_at <= state.now])]);
  if (signature === shownSubscriptions) return;
  shownSubscriptions = signature;
  const focused = document.activeElement?.id;
  $("subs-title").textContent = me() ? `Subscriptions of ${me().first_name}` : "Subscriptions";
  const none = h("li", { class: "faint" }, "None in Stars. Those paid with Stripe are in its portal, which /status leads to.");
  $("subs-list").replaceChildren(...(subscriptions.length ? subscriptions.map(subscriptionNode).reverse() : [none]));
  if (focused) $(focused)?.focus();
}

function subscriptionNode(one) {
  const over = one.expires_at <= state.now;
  const ends = over ? "ended on" : "ends on";
  const words = { active: "renews on", canceled: `cancelled; ${ends}`, failed: `not paid; ${ends}` };
  const change = (verb, body = {}) => doing(() => ask(`subscriptions/${one.id}/${verb}`, body));
  const button = (verb, label, primary) =>
    h("button", { type: "button", id: `${verb}-${one.id}`, class: primary && "primary", onclick: change(verb) }, label);
  const failing = (event) => change("next", { fails: event.target.checked })();
  return h(
    "li",
    {},
    h("b", {}, `${one.title}, ${money(one.amount, "XTR")}`),
    h("span", { class: "faint" }, one.canceled_by_bot ? `stopped by the bot; ${ends} ` : `${words[one.state]} `, day(one.expires_at)),
    one.renews &&
      h(
        "label",
        { class: "tick" },
        h("input", { type: "checkbox", id: `fails-${one.id}`, checked: one.next_fails, onchange: failing }),
        "Let the next renewal fail",
      ),
    h(
      "span",
      { class: "row" },
      one.renews && button("renew", "Renew now", true),
      one.state === "active" && button("cancel", "Cancel"),
      one.state === "canceled" && !one.canceled_by_bot && !over && button("reenable", "Re-enable"),
    ),
  );
}

$("advance").onclick = doing(async ({ target }) => {
  if (!target.dataset.advance) return;
  const buttons = [...$("advance").querySelectorAll("button")];
  for (const each of buttons) each.disabled = true;
  try {
    await ask("clock", { advance: Number(target.dataset.advance) });
  } finally {
    for (const each of buttons) each.disabled = false;
    target.focus();
  }
});

/* Faults and the wire */

$("order-fault").onsubmit = doing(async (event) => {
  event.preventDefault();
  const { method, kind, times } = Object.fromEntries(new FormData(event.target));
  await ask("faults", { method, kind, times: Number(times) });
});
$("order-update").onsubmit = doing(async (event) => {
  event.preventDefault();
  const { kind, fault, times } = Object.fromEntries(new FormData(event.target));
  await ask("faults/updates", { fault, times: Number(times), kind: kind || null });
});
$("clear-faults").onclick = doing(() => ask("faults", undefined, "DELETE"));

function showFaults() {
  const { calls, updates } = state.faults;
  const lines = [
    ...calls.map((one) => `${one.method === "*" ? "any call" : one.method}: ${one.kind.replaceAll("_", " ")} × ${one.times}`),
    ...updates.map((one) => `${one.kind ?? "any update"}: ${one.fault} × ${one.times}`),
  ];
  const items = lines.length ? lines.map((line) => h("li", {}, line)) : [h("li", { class: "faint" }, "Nothing is to go wrong.")];
  $("ordered").replaceChildren(...items);
  $("clear-faults").hidden = lines.length === 0;
  $("open-faults").classList.toggle("on", lines.length > 0);
}

async function showWire() {
  if ($("wire").hidden) return;
  const { calls, deliveries } = await ask("wire");
  const entries = [
    ...calls.filter((call) => call.method !== "getUpdates" || call.answer?.result?.length).map(callEntry),
    ...deliveries.map(deliveryEntry),
  ].sort((a, b) => b.date - a.date);
  const signature = entries.map((entry) => entry.key).join();
  if (signature === shownWire) return;
  shownWire = signature;
  const open = new Set([...$("wire").querySelectorAll("details[open]")].map((one) => one.dataset.key));
  const list = entries.map((entry) => wireNode(entry, open.has(entry.key)));
  $("wire").replaceChildren(...(list.length ? list : [h("p", { class: "stack faint" }, "Nothing yet.")]));
}

const pretty = (value) => JSON.stringify(value, null, 2);
function prettyText(text) {
  try {
    return pretty(JSON.parse(text));
  } catch {
    return text || "(empty)";
  }
}

function callEntry(call) {
  const via = call.via === "webhook" ? " (in the webhook's answer)" : "";
  return {
    key: `c${call.number}`, date: call.date, seconds: call.seconds, into: true, good: call.code === 200 && !call.fault,
    what: call.method + via, code: call.fault ?? call.code,
    parts: [["Parameters", pretty(call.arguments)], ["Answer", call.answer ? pretty(call.answer) : "none"]],
  };
}

function deliveryEntry(one) {
  const again = one.attempt > 1 ? `, attempt ${one.attempt}` : "";
  return {
    key: `d${one.number}`, date: one.date, seconds: one.seconds, into: false, good: !one.error,
    what: `${one.kind} ${one.update_id}${again}`, code: one.status ?? "—",
    parts: [["Update", prettyText(one.request.text)], ["Answer", one.error ?? prettyText(one.reply.text)]],
  };
}

function wireNode(entry, open) {
  return h(
    "details",
    { "data-key": entry.key, class: `${entry.into ? "in" : "out"}${entry.good ? "" : " bad"}`, open },
    h(
      "summary",
      {},
      h("span", { class: "dir", title: entry.into ? "The bot calls" : "Telegram delivers" }, entry.into ? "←" : "→"),
      h("span", { class: "what" }, entry.what),
      h("span", { class: "code" }, String(entry.code)),
      h("time", {}, `${clock(entry.date)} · ${Math.round(entry.seconds * 1000)} ms`),
    ),
    entry.parts.map(([title, text]) => [h("h4", {}, title), h("pre", {}, text)]),
  );
}

const DRAWERS = { time: "Let time pass", faults: "What shall go wrong", wire: "What went over the wire" };

function openDrawer(name) {
  const same = !$("drawer").hidden && !$(name).hidden;
  $("drawer").hidden = same;
  for (const section of Object.keys(DRAWERS)) $(section).hidden = section !== name;
  $("drawer-title").textContent = DRAWERS[name];
  if (!same) showWire().then(() => $("close-drawer").focus());
}

/* Everything, whenever something has changed */

let refreshing = null;
let again = false;

/** One request at a time; changes meanwhile make one more. */
function refresh() {
  if (refreshing) {
    again = true;
    return refreshing;
  }
  refreshing = load().finally(() => {
    refreshing = null;
    if (again) {
      again = false;
      refresh();
    }
  });
  return refreshing;
}

async function load() {
  try {
    state = await ask(`state?person=${Number(location.hash.slice(1)) || 0}`);
  } catch {
    return lost();
  }
  if (!me() && state.people.length) {
    location.hash = state.people[0].id;
    again = true;
    return;
  }
  show();
}

function show() {
  $("balance").textContent = money(state.balance, "XTR");
  showLink();
  showPeople();
  showChat();
  showFaults();
  showTime();
  showWire().catch(lost);
}

function showLink() {
  const { url, last_error_message: error } = state.webhook;
  const waiting = state.pending ? ` · ${state.pending} waiting` : "";
  const failing = state.pending > 0 && error;
  const bot = url ? new URL(url).host : "the bot asks for updates itself";
  $("link").className = `link ${failing ? "bad" : url ? "good" : ""}`;
  $("link").textContent = failing ? `${bot}: ${error}${waiting}` : `${url ? "Updates go to " : ""}${bot}${waiting}`;
}

function lost() {
  $("link").className = "link bad";
  $("link").textContent = "The local Telegram has stopped.";
}

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-open], [data-close], [data-drawer], [data-quick]");
  if (!target) return;
  const { open, drawer, quick, language } = target.dataset;
  if (open) $(open).showModal();
  if (drawer) openDrawer(drawer);
  if (quick) doing(() => addPerson({ first_name: quick, language_code: language }))();
  if ("close" in target.dataset) target.closest("dialog").close();
});
$("close-drawer").onclick = () => ($("drawer").hidden = true);
$("back").onclick = () => (app.dataset.view = "people");
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}
window.addEventListener("hashchange", refresh);
app.dataset.view = location.hash ? "chat" : "people";

const events = new EventSource("/local/events");
events.onmessage = refresh;
events.onerror = lost;
