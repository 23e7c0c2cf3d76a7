// A stand-in for what a program finds on a Bangle.js 2: it notes calls, and measures 200 samples.
// Reads {line, sensor, commands} from standard input; writes {sent, calls}.
const { line, sensor, commands } = JSON.parse(require("fs").readFileSync(0, "utf8"));
const calls = [], sent = [], handlers = { accel: [], disconnect: [] };
const note = (name) => (...given) => void calls.push([name, ...given]);
const on = (name, handler) => handlers[name].push(handler);

// As the firmware says it: counts over 8192, whatever the range; a KX023 at 8 g has 4096 to the g.
const perG = sensor === 0x15 ? 8192 : 4096;
global.Bangle = {
  accelRd: (register) => (register === 15 ? sensor : 0),
  accelWr: note("accelWr"),
  setPollInterval: note("setPollInterval"),
  setOptions: note("setOptions"),
  removeListener: (name, handler) => (handlers[name] = handlers[name].filter((h) => h !== handler)),
  on,
};
global.NRF = { on };
global.E = { sum: (array) => array.reduce((a, b) => a + b, 0) };
global.Bluetooth = { write: (bytes) => sent.push(Buffer.from(bytes).toString("hex")) };
global.load = note("load");
let now = 1.7e12;
Date.now = () => now;

(0, eval)(line);
const rate = /64 \| (\d)/.exec(line)[1];
for (let k = 0; k < 200; k++) {
  now += [80, 40, 20, 10][rate];
  for (const handler of handlers.accel) handler({ x: k / perG, y: -k / perG, z: (4096 - k) / perG });
}
if (commands === "disconnect") handlers.disconnect.forEach((handler) => handler());
else (0, eval)(commands);
process.stdout.write(JSON.stringify({ sent, calls }));
