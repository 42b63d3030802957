// The live page: one stream of events brings what happens each second, a request every two seconds the table of
// connections while it is looked at. Everything is drawn from `live`; nothing is asked of anybody but the program itself.

const SECONDS = 300
const find = id => document.getElementById(id)
const live = {
  role: "", changes: "refused", targets: true, modes: [], mode: null, hasSession: false,
  series: [],       // { name, color, up: [300 numbers or null], down, rtt }
  uplinks: [],      // of the last second
  end: 0,           // Unix milliseconds of the newest second
  marks: [],        // { at, good }: losses and returns, for the charts
  cursor: null,     // a second that is pointed at, 0 to 299
}

// ---- Making elements ----

function make(tag, properties = {}, ...children) {
  const { label, ...rest } = properties
  const element = Object.assign(document.createElement(tag), rest)
  if (label) element.dataset.label = label
  element.append(...children)
  return element
}

function draw(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag)
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value)
  element.append(...children)
  return element
}

/**
 * Makes the rows of a table these, and touches only the cells that have changed: what somebody reads, has selected or
 * is about to choose stays. A row's `data-key` tells it from others.
 */
function renew(body, rows) {
  const old = new Map([...body.children].map(row => [row.dataset.key, row]))
  rows.forEach((row, place) => {
    const known = old.get(row.dataset.key)
    old.delete(row.dataset.key)
    const own = known ?? row
    if (body.children[place] !== own) body.insertBefore(own, body.children[place] ?? null)
    if (!known) return
    for (let i = 0; i < row.children.length; i++) {
      const [is, was] = [row.children[i], known.children[i]]
      if (is.innerHTML !== was.innerHTML) was.replaceChildren(...is.childNodes)
    }
  })
  for (const row of old.values()) row.remove()
}

/** A row of cells. */
function line(key, cells) {
  const row = make("tr", {}, ...cells)
  row.dataset.key = key
  row.setAttribute("role", "row")
  return row
}

/** Sets the text where it is another one, so that a screen reader hears changes only. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text
}

// ---- Words for numbers ----

function scaled(value, units) {
  let unit = 0
  while (value >= 999.5 && unit < units.length - 1) { value /= 1000; unit++ }
  const digits = unit === 0 || value >= 99.95 ? 0 : 1
  return `${value.toFixed(digits)} ${units[unit]}`
}
const rate = bytes => bytes > 0 ? scaled(bytes * 8, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"]) : "0"
const size = bytes => scaled(bytes, ["B", "kB", "MB", "GB", "TB"])
const milliseconds = ms => ms === undefined ? "–" : `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`
const percent = share => share === 0 ? "0 %" : share < 0.1 ? "<0.1 %" : `${share < 10 ? share.toFixed(1) : Math.round(share)} %`
const counted = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`

function duration(seconds) {
  const s = Math.max(0, Math.floor(seconds))
  if (s < 60) return `${s} s`
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`
  return `${Math.floor(s / 86400)} d ${Math.floor(s % 86400 / 3600)} h`
}

/** A name as it may be shown: what reorders or hides letters is written out, as it is in the events. */
const legible = name => name.replace(/[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, letter => {
  const code = letter.charCodeAt(0)
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`
})

const two = n => String(n).padStart(2, "0")
function clock(ms, withMilliseconds = false) {
  const t = new Date(ms), text = `${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}`
  return withMilliseconds ? `${text}.${String(t.getMilliseconds()).padStart(3, "0")}` : text
}

/** The day of a time that was not today. */
function day(ms) {
  const t = new Date(ms)
  return t.toDateString() === new Date().toDateString() ? "" : `${t.getFullYear()}-${two(t.getMonth() + 1)}-${two(t.getDate())} `
}

// ---- The stream ----

let stream = null
function connect() {
  if (stream) stream.close()
  stream = new EventSource("/events")
  stream.addEventListener("hello", event => begin(JSON.parse(event.data)))
  stream.addEventListener("second", event => takeSecond(JSON.parse(event.data)))
  stream.addEventListener("event", event => takeEvents([JSON.parse(event.data)]))
  stream.addEventListener("displaced", () => {
    stream.close()
    stream = null
    link("bad", "too many pages are open: this one stands still; load it again")
  })
  stream.onerror = () => {
    link("bad", "the program does not answer; trying again")
    if (stream?.readyState === EventSource.CLOSED) setTimeout(connect, 5000)
  }
}

function link(kind, text) {
  find("link").className = `pill ${kind}`
  say(find("link"), text)
}

function begin(hello) {
  Object.assign(live, { role: hello.role, changes: hello.changes, targets: hello.targets, modes: hello.modes })
  live.end = hello.now
  live.marks = []
  live.series = hello.series.map((series, i) => ({ ...series, color: i }))
  document.title = `Braid ${live.role}`
  document.body.className = live.role
  say(find("role"), live.role)
  say(find("version"), `braid ${hello.version}`)
  say(find("carrier"), live.role === "proxy" ? "uplink" : "user")
  say(find("uplinks-title"), live.role === "proxy" ? "Uplinks" : "Paths")
  // The past is there to be read; what comes from now on is read out.
  find("log").removeAttribute("aria-live")
  find("log").replaceChildren()
  takeEvents(hello.events ?? [])
  setTimeout(() => find("log").setAttribute("aria-live", "polite"), 1000)
  makeModes()
  makeHeads()
  askConnections()
}

function takeSecond(second) {
  live.end = second.now
  live.uplinks = second.uplinks
  live.hasSession = second.session
  for (const latest of second.series) {
    let series = live.series.find(s => s.name === latest.name)
    if (!series) {
      const nothing = () => Array(SECONDS).fill(null)
      series = { name: latest.name, color: live.series.length, up: nothing(), down: nothing(), rtt: nothing() }
      live.series.push(series)
    }
    for (const what of ["up", "down", "rtt"]) {
      series[what].push(latest[what] ?? null)
      series[what].shift()
    }
  }
  live.series = live.series.filter(s => second.series.some(latest => latest.name === s.name))
  showMode(second.mode, second.mode === "auto" && second.present ? `${second.present} now${second.follows ? `: ${second.follows}` : ""}` : "")
  showLink()
  showLegend()
  drawCharts()
  showUplinks()
}

function showLink() {
  const used = live.uplinks.filter(u => u.state === "usable").length
  if (live.role !== "proxy") link("good", used ? `${counted(used, "path")} in use` : "no proxy is connected")
  else if (!live.hasSession) link("bad", "not connected to the concentrator")
  else if (used === 0) link("bad", "no uplink works")
  else link(used === 1 && live.uplinks.length > 1 ? "warn" : "good", `connected over ${counted(used, "uplink")}`)
}

// ---- Charts ----

/** The color of an uplink or a user is that of its series, a path's at a concentrator that of its number. */
function color(name) {
  const series = live.series.find(s => s.name === name)
  return series ? Math.min(series.color, 8) : Number(name.match(/path (\d+)$/)?.[1] ?? 8) % 9
}

const sum = (what, i) => live.series.reduce((all, series) => all + (series[what][i] ?? 0), 0)

function showLegend() {
  const at = live.cursor ?? SECONDS - 1
  const when = live.cursor === null ? "now" : clock(live.end - (SECONDS - 1 - at) * 1000)
  const words = live.series.map(series => [series, `↓ ${rate(series.down[at] ?? 0)}  ↑ ${rate(series.up[at] ?? 0)}`])
  find("legend").replaceChildren(...words.map(([series, text]) =>
    make("li", {}, make("i", { className: `swatch c${color(series.name)}` }), make("b", { textContent: legible(series.name) }),
      make("span", { textContent: text }))))
  say(find("down-now"), `${when}: ${rate(sum("down", at))}`)
  say(find("up-now"), `${when}: ${rate(sum("up", at))}`)
  const slider = find("charts")
  slider.setAttribute("aria-valuenow", at)
  slider.setAttribute("aria-valuetext", `${when}: ${words.map(([s, text]) =>
    `${legible(s.name)} ${text.replace("↓", "down").replace("↑", "up")}`).join("; ") || "nothing yet"}`)
}

/** The next round number of bit/s for the top of an axis, and how many lines below it. */
function axis(bytes) {
  const bits = Math.max(bytes * 8 * 1.05, 10_000)
  const power = 10 ** Math.floor(Math.log10(bits))
  const [step, lines] = [[1, 4], [1.2, 4], [1.6, 4], [2, 4], [3, 3], [4, 4], [5, 5], [6, 3], [8, 4], [10, 5]].find(([m]) => m * power >= bits)
  return { top: step * power / 8, lines }
}

function drawCharts() {
  drawChart(find("down"), "down")
  drawChart(find("up"), "up")
}

function drawChart(svg, what) {
  const width = svg.clientWidth, height = svg.clientHeight
  if (!width) return
  const left = 2, bottom = height - 18, topEdge = 8
  const { top, lines } = axis(Math.max(...Array.from({ length: SECONDS }, (_, i) => sum(what, i))))
  const x = i => left + i / (SECONDS - 1) * (width - left)
  const y = bytes => bottom - bytes / top * (bottom - topEdge)
  const parts = []
  for (let n = 1; n <= lines; n++) {
    parts.push(draw("line", { class: "grid", x1: left, x2: width, y1: y(top * n / lines), y2: y(top * n / lines) }))
  }
  const below = Array(SECONDS).fill(0)
  for (const series of live.series) {
    const line = below.map((base, i) => `${x(i).toFixed(1)},${y(base).toFixed(1)}`).reverse()
    series[what].forEach((bytes, i) => { below[i] += bytes ?? 0 })
    const edge = below.map((bytes, i) => `${x(i).toFixed(1)},${y(bytes).toFixed(1)}`)
    parts.push(draw("path", { class: `area c${color(series.name)}`, d: `M${edge.join("L")}L${line.join("L")}Z` }))
  }
  for (const mark of live.marks) {
    const i = SECONDS - 1 - (live.end - mark.at) / 1000
    if (i >= 0) parts.push(draw("line", { class: mark.good ? "mark good" : "mark", x1: x(i), x2: x(i), y1: topEdge, y2: bottom }))
  }
  parts.push(draw("line", { class: "base", x1: left, x2: width, y1: bottom, y2: bottom }))
  for (const n of [lines, Math.floor(lines / 2)]) {
    parts.push(draw("text", { x: left + 2, y: y(top * n / lines) + 12 }, rate(top * n / lines).replace(".0 ", " ")))
  }
  for (let minute = 0; minute <= 5; minute += width < 420 ? 2 : 1) {
    const anchor = minute === 0 ? "end" : minute === 5 ? "start" : "middle"
    parts.push(draw("text", { x: x(SECONDS - 1 - minute * 59.8), y: height - 4, "text-anchor": anchor },
      minute === 0 ? "now" : `−${minute} min`))
  }
  if (live.cursor !== null) {
    parts.push(draw("line", { class: "cursor", x1: x(live.cursor), x2: x(live.cursor), y1: topEdge, y2: bottom }))
  }
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`)
  svg.replaceChildren(...parts)
}

function point(second) {
  live.cursor = second === null ? null : Math.min(Math.max(Math.round(second), 0), SECONDS - 1)
  showLegend()
  drawCharts()
}

for (const id of ["down", "up"]) {
  find(id).addEventListener("pointermove", event => {
    const box = find(id).getBoundingClientRect()
    point((event.clientX - box.left) / box.width * (SECONDS - 1))
  })
  find(id).addEventListener("pointerleave", () => point(null))
}
find("charts").addEventListener("keydown", event => {
  const from = live.cursor ?? SECONDS - 1
  const to = { ArrowLeft: from - 1, ArrowRight: from + 1, PageUp: from - 30, PageDown: from + 30, Home: 0, End: SECONDS - 1, Escape: null }
  if (!(event.key in to)) return
  event.preventDefault()
  point(to[event.key])
})
find("charts").addEventListener("blur", () => point(null))
new ResizeObserver(drawCharts).observe(find("charts"))

// ---- Uplinks ----

/** An uplink's part of all that moved in the last five seconds, 0 to 1. */
function share(name) {
  const moved = series => [...series.up.slice(-5), ...series.down.slice(-5)].reduce((a, b) => a + (b ?? 0), 0)
  const all = live.series.reduce((total, series) => total + moved(series), 0)
  const own = live.series.find(series => series.name === name)
  return own && all ? moved(own) / all : 0
}

function spark(name) {
  const series = live.series.find(s => s.name === name)
  const svg = draw("svg", { viewBox: "0 0 120 32", preserveAspectRatio: "none", role: "img" })
  const known = series?.rtt.filter(ms => ms !== null) ?? []
  if (known.length === 0) { svg.setAttribute("aria-label", "no round trip yet"); return svg }
  const [least, most] = [Math.min(...known), Math.max(...known)]
  svg.setAttribute("aria-label", `in five minutes from ${milliseconds(least)} to ${milliseconds(most)}`)
  const top = Math.max(most * 1.1, least + 5)
  let path = "", isOpen = false
  series.rtt.forEach((ms, i) => {
    if (ms !== null) path += `${isOpen ? "L" : "M"}${(i / (SECONDS - 1) * 119).toFixed(1)},${(31 - ms / top * 29).toFixed(1)}`
    isOpen = ms !== null
  })
  svg.append(draw("path", { class: `spark c${color(name)}`, d: path, "vector-effect": "non-scaling-stroke" }))
  return svg
}

function bar(parts, className = "bar") {
  const bar = make("span", { className })
  for (const [share, name] of parts) {
    const piece = make("i", { className: `c${color(name)}` })
    piece.style.width = `${Math.min(share * 100, 100).toFixed(1)}%`
    bar.append(piece)
  }
  return bar
}

const states = {
  usable: "in use", resting: "resting", silent: "silent", unreached: "never reached", lost: "lost",
  waiting: "waiting", absent: "not there", off: "off",
}

function cell(label, className, ...children) {
  const cell = make("td", { label, className }, ...children)
  cell.setAttribute("role", "cell")
  return cell
}

/** The cell that names its row, as a screen reader says it with each of the others. */
function nameCell(...of) {
  const head = cell(...of)
  head.setAttribute("role", "rowheader")
  return head
}

/** Bytes today and this month, against the allowance where there is one. */
function used(uplink) {
  const note = text => [make("br"), make("small", { textContent: text })]
  if (uplink.month === undefined) return [size(uplink.bytesUp + uplink.bytesDown), ...note("since it began")]
  const lines = [`${size(uplink.today)} today`]
  if (uplink.allowance === undefined) lines.push(...note(`${size(uplink.month)} this month`))
  else {
    lines.push(...note(`${size(uplink.used)} of ${size(uplink.allowance)}`),
      bar([[uplink.used / uplink.allowance, uplink.name]], uplink.used > uplink.allowance ? "bar over" : "bar"))
  }
  if (uplink.spent) lines.push(...note(uplink.spent))
  return lines
}

function showUplinks() {
  const body = find("uplinks").querySelector("tbody")
  const isProxy = live.role === "proxy"
  for (const id of ["role-title", "share-title"]) find(id).hidden = !isProxy
  say(find("uplink-title"), isProxy ? "Uplink" : "Path")
  renew(body, live.uplinks.map(uplink => {
    const part = share(uplink.name)
    return line(uplink.name, [
      nameCell("Uplink", "whole", make("span", { className: "name" }, make("i", { className: `swatch c${color(uplink.name)}` }), legible(uplink.name))),
      cell("State", "wide", make("span", { className: `state ${uplink.state}`, textContent: states[uplink.state] ?? uplink.state }),
        ` for ${duration((live.end - uplink.since) / 1000)}`, make("br"),
        make("small", { textContent: uplink.reason ? `since ${clock(uplink.since)}: ${legible(uplink.reason)}` : `since ${clock(uplink.since)}` })),
      cell("Round trip", "number wide", make("span", { className: "trip" }, isProxy ? spark(uplink.name) : "", make("b", { textContent: milliseconds(uplink.rtt) }))),
      cell("Queue", "number", milliseconds(uplink.queue)),
      cell("Loss", "number", percent(uplink.loss)),
      ...(isProxy ? [cell("Share", "", make("small", { textContent: percent(part * 100) }), bar([[part, uplink.name]]))] : []),
      cell("Down", "number", rate(uplink.down)), cell("Up", "number", rate(uplink.up)),
      cell("Used", "number", ...used(uplink)),
      ...(isProxy ? [cell("Role", "", roleMenu(uplink))] : []),
    ])
  }))
  for (const menu of body.querySelectorAll("select")) {
    const role = live.uplinks.find(uplink => uplink.name === menu.dataset.uplink)?.role
    if (menu !== document.activeElement && !find("ask").open) menu.value = role
  }
  find("no-uplinks").hidden = live.uplinks.length > 0
  say(find("no-uplinks"), isProxy ? "No uplink: no interface has a default route, or none of those configured is there." : "No proxy is connected.")
}

function roleMenu(uplink) {
  if (live.changes === "refused") return document.createTextNode(uplink.role)
  const menu = make("select", {})
  menu.dataset.uplink = uplink.name
  menu.setAttribute("aria-label", `Role of ${legible(uplink.name)}`)
  for (const role of ["regular", "backup", "off"]) menu.append(make("option", { value: role, textContent: role }))
  menu.value = uplink.role
  menu.addEventListener("change", async () => {
    const now = live.uplinks.find(other => other.name === uplink.name) ?? uplink
    const role = menu.value
    menu.value = now.role
    await change("/uplink", { uplink: now.name, role }, `${legible(now.name)}: ${role}`, ofRole(now, role))
  })
  return menu
}

// ---- Events ----

const MAXIMUM_EVENTS = 200

/** A loss or a return for the charts; what was over within a second is no mark in five minutes. */
function mark(event) {
  if (event.tone === "bad") live.marks.push({ at: event.at, good: false })
  else if (event.tone === "good") {
    const before = live.marks.length
    live.marks = live.marks.filter(mark => mark.good || event.at - mark.at > 1000)
    if (live.marks.length === before) live.marks.push({ at: event.at, good: true })
  }
}

function takeEvents(events) {
  const log = find("log")
  for (const event of events) {
    const known = log.querySelector(`[data-number="${event.number}"]`)
    if (known) { say(known.lastChild, event.text); continue }
    const time = make("time", { dateTime: new Date(event.at).toISOString(), textContent: day(event.at) + clock(event.at, true) })
    const item = make("li", { className: event.tone ?? "" }, time, make("span", { textContent: event.text }))
    item.dataset.number = event.number
    log.prepend(item)
    mark(event)
  }
  while (log.children.length > MAXIMUM_EVENTS) log.lastChild.remove()
  live.marks = live.marks.filter(mark => mark.at > live.end - SECONDS * 1000).slice(-50)
  find("no-events").hidden = log.children.length > 0
}

// ---- Connections ----

const columns = {
  proxy: [["target", "Target"], ["kind", "Kind"], ["age", "Age"], ["down", "Down"], ["up", "Up"], [null, "Share by uplink"], ["mode", "Mode"]],
  concentrator: [["target", "Target"], ["user", "User"], ["kind", "Kind"], ["age", "Age"], ["down", "Down"], ["up", "Up"], [null, "Share by path"], ["mode", "Mode"]],
}
const order = { sort: "bytes", isDescending: true, offset: 0, count: 50 }

function makeHeads() {
  const numbers = ["age", "down", "up"]
  find("heads").replaceChildren(...columns[live.role].map(([key, title]) => {
    const head = make("th", { scope: "col", className: numbers.includes(key) ? "number" : "" })
    head.setAttribute("role", "columnheader")
    head.append(key ? make("button", { type: "button", textContent: title, onclick: () => sortBy(key) }) : title)
    head.dataset.key = key ?? ""
    return head
  }))
  find("sort").replaceChildren(make("option", { value: "bytes", textContent: "Bytes" }),
    ...columns[live.role].filter(([key]) => key).map(([value, textContent]) => make("option", { value, textContent })))
  showOrder()
}

function sortBy(key, isDescending) {
  const isText = ["target", "user", "kind", "mode"].includes(key)
  order.isDescending = isDescending ?? (order.sort === key ? !order.isDescending : !isText)
  order.sort = key
  order.offset = 0
  showOrder()
  askConnections()
}

function showOrder() {
  const direction = order.isDescending ? "descending" : "ascending"
  for (const head of find("heads").children) {
    if (head.dataset.key === order.sort) head.setAttribute("aria-sort", direction)
    else head.removeAttribute("aria-sort")
  }
  find("sort").value = order.sort
  find("order").textContent = order.isDescending ? "↓" : "↑"
  find("order").setAttribute("aria-label", `Order: ${direction}`)
}

let asking = null, rates = new Map()
async function askConnections() {
  asking?.abort()
  const own = asking = new AbortController()
  const query = new URLSearchParams({
    sort: order.sort, order: order.isDescending ? "down" : "up", filter: find("filter").value, offset: order.offset, count: order.count,
  })
  try {
    const answer = await fetch(`/connections?${query}`, { signal: own.signal })
    if (answer.ok) showConnections(await answer.json())
  } catch {
    // The stream says that nobody answers.
  } finally {
    if (asking === own) asking = null
  }
}

/** Bytes a second of a row since the last answer, for who is in both. */
function rateOf(row, what, now) {
  const before = rates.get(row.id)
  return before && now > before.now ? Math.max(0, row[what] - before[what]) / (now - before.now) * 1000 : 0
}

function showConnections(list) {
  const now = performance.now(), isProxy = live.role === "proxy"
  const body = find("connections").querySelector("tbody")
  renew(body, list.rows.map(row => {
    const total = row.shares.reduce((all, [, bytes]) => all + bytes, 0)
    const shares = row.shares.map(([name, bytes]) => [name, bytes / total])
    const moved = what => [size(row[what]), make("br"), make("small", { textContent: rate(rateOf(row, what, now)) })]
    const cells = [
      nameCell("Target", "target wide", legible(row.target ?? "") || make("small", { textContent: "not shown" })),
      ...(isProxy ? [] : [cell("User", "", legible(row.user ?? ""))]),
      cell("Kind", "", row.kind === "tcp" ? "connection" : "datagrams"),
      cell("Age", "number", row.age === undefined ? "waiting" : duration(row.age)),
      cell("Down", "number", ...moved("down")), cell("Up", "number", ...moved("up")),
      cell(isProxy ? "Share by uplink" : "Share by path", "", ...(shares.length ? [
        make("small", { textContent: shares.map(([name, part]) => `${legible(name)} ${percent(part * 100)}`).join(", ") }),
        bar(shares.map(([name, part]) => [part, name]))] : ["–"])),
      cell("Mode", "", row.mode, ...(row.policy ? [make("br"), make("small", { textContent: row.policy })] : [])),
    ]
    return line(row.id, cells)
  }))
  rates = new Map(list.rows.map(row => [row.id, { up: row.up, down: row.down, now }]))
  say(find("count"), list.matched === list.all ? `${list.all.toLocaleString("en")}` : `${list.matched.toLocaleString("en")} of ${list.all.toLocaleString("en")}`)
  find("no-connections").hidden = list.rows.length > 0
  say(find("no-connections"), list.all > 0 ? "None matches the filter." : "No connection.")
  if (list.rows.length === 0 && order.offset > 0) { order.offset = 0; askConnections(); return }
  find("pages").hidden = list.matched <= order.count
  find("previous").disabled = order.offset === 0
  find("next").disabled = order.offset + order.count >= list.matched
  say(find("range"), `${order.offset + 1} to ${order.offset + list.rows.length}`)
}

find("find").addEventListener("submit", event => event.preventDefault())
find("filter").addEventListener("input", () => { order.offset = 0; askConnections() })
find("sort").addEventListener("change", event => sortBy(event.target.value, order.isDescending))
find("order").addEventListener("click", () => sortBy(order.sort, !order.isDescending))
find("previous").addEventListener("click", () => { order.offset = Math.max(0, order.offset - order.count); askConnections() })
find("next").addEventListener("click", () => { order.offset += order.count; askConnections() })

// ---- Changes ----

function makeModes() {
  const fieldset = find("modes").firstElementChild
  find("modes").hidden = live.modes.length === 0 || live.role !== "proxy"
  fieldset.disabled = live.changes === "refused"
  fieldset.querySelectorAll("label").forEach(label => label.remove())
  for (const mode of live.modes) {
    const input = make("input", { type: "radio", name: "mode", value: mode })
    input.addEventListener("change", async () => {
      await change("/mode", { mode }, `Mode ${mode}`, ofMode(mode))
      showMode(live.mode)
    })
    fieldset.append(make("label", {}, input, make("span", { textContent: mode })))
  }
}

function showMode(mode, detail = "") {
  live.mode = mode ?? null
  say(find("mode-detail"), detail)
  if (find("ask").open) return
  for (const input of find("modes").querySelectorAll("input")) input.checked = input.value === mode
}

const named = uplinks => uplinks.map(uplink => legible(uplink.name)).join(" and ")

/** What a mode will do, as far as it costs something or takes something away. */
function ofMode(mode) {
  const backups = live.uplinks.filter(uplink => uplink.role === "backup" && uplink.state !== "absent")
  switch (mode) {
    case "full": return `Every uplink carries data${backups.length ? `, ${named(backups)} (backup) included` : ""}: what is paid for by volume is used.`
    case "backup": return backups.length ? `${named(backups)} will rest as long as a regular uplink works.` : "No uplink has the role backup: give it to one first."
    case "single": return "One uplink carries everything, and the next one only when that is lost. Connections move over; the others rest."
    case "auto": return "The mode is chosen anew as uplinks, prices and allowances have it."
    default: return ""
  }
}

function ofRole(uplink, role) {
  const name = legible(uplink.name)
  const others = live.uplinks.filter(other => other.name !== uplink.name && other.state === "usable")
  const last = others.length === 0 && uplink.state === "usable" ? " It is the only one in use: connections will stand still." : ""
  switch (role) {
    case "off": return `${name} will not be used at all; what it carries moves to ${named(others) || "nothing"}.${last}`
    case "backup": return live.mode === "full" ? `In mode full ${name} goes on carrying data; in mode backup it rests while a regular one works.` : `${name} will rest as long as a regular uplink works.${last}`
    default: return `${name} will carry data: what is paid for by volume is used.`
  }
}

let token = null

/** Says what will be done, asks for the token where one is needed, and does it. */
function change(path, fields, title, text) {
  const dialog = find("ask")
  say(find("ask-title"), title)
  say(find("ask-text"), text)
  say(find("ask-problem"), "")
  find("ask-token").hidden = live.changes !== "token" || token !== null
  find("token").value = ""
  return new Promise(resolve => {
    const finish = () => { dialog.removeEventListener("close", closed); resolve() }
    const closed = async () => {
      if (dialog.returnValue !== "yes") return finish()
      const shown = find("ask-token").hidden ? token : find("token").value
      const problem = await post(path, fields, shown)
      if (problem === null) {
        if (live.changes === "token") token = shown
        return finish()
      }
      dialog.returnValue = ""
      dialog.showModal()
      say(find("ask-problem"), problem)
      if (live.changes === "token" && token === null) find("ask-token").hidden = false
    }
    dialog.addEventListener("close", closed)
    dialog.returnValue = ""
    dialog.showModal()
  })
}

/** Null where it was done, else why not. */
async function post(path, fields, shown) {
  try {
    const headers = shown ? { Authorization: `Bearer ${shown}` } : {}
    const answer = await fetch(path, { method: "POST", headers, body: new URLSearchParams(fields) })
    if (answer.ok) return null
    if (answer.status === 401) token = null
    return (await answer.text()).trim() || `refused (${answer.status})`
  } catch {
    return "the program does not answer"
  }
}

// ---- While somebody looks ----

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) { if (!stream) connect(); askConnections() }
  else if (stream) { stream.close(); stream = null }
})
let areConnectionsInView = false
new IntersectionObserver(entries => {
  const wereInView = areConnectionsInView
  areConnectionsInView = entries.at(-1).isIntersecting
  if (areConnectionsInView && !wereInView && live.role) askConnections()
}).observe(find("connections"))
setInterval(() => { if (!document.hidden && areConnectionsInView && stream && !asking) askConnections() }, 2000)
connect()
