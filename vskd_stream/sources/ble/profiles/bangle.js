// Streams the accelerometer of a Bangle.js 2 over its Nordic UART, until the link ends.
//
// bangle.py replaces the words in $...$, takes out comments and line breaks, and sends the rest as one
// line; it also describes the frames. Everything is allocated once: a frame costs no memory.

(function () {
var n = $SAMPLES$;
var k = Bangle.accelRd(15) === 21;
var b = new ArrayBuffer(12 + 6 * n);
var u = new Uint8Array(b);
var h = new Uint16Array(b, 4, 2);
var t = new Uint32Array(b, 8, 1);
var s = new Int16Array(b, 12, 3 * n);
var i = 0;
var q = 0;
// A KX023 is set to 8 g, of which the firmware, made for 4 g, does not know: it says half of what is.
var g = k ? 8192 : 4096;

function send(f) {
u[2] = (f.length - 12) / 6;
h[1] = 0;
h[1] = E.sum(f);
Bluetooth.write(f);
}

function take(a) {
s[i] = a.x * g;
s[i + 1] = a.y * g;
s[i + 2] = a.z * g;
i += 3;
if (i < s.length) return;
i = 0;
h[0] = q;
t[0] = Date.now() % 4294967296;
q = (q + 1) & 65535;
send(u);
}

function set(range, rate, poll) {
if (k) {
Bangle.accelWr(24, range & 127);
Bangle.accelWr(27, rate);
Bangle.accelWr(24, range);
}
Bangle.setPollInterval(poll);
}

global.vskdStop = function () {
Bangle.removeListener("accel", take);
set(236, 0, 80);
Bangle.setOptions({ powerSave: true });
};

Bangle.setOptions({ powerSave: false });
set(244, 64 | $RATE_CODE$, k ? $POLL_MS$ : 80);
u[0] = 181;
u[1] = 86;
u[3] = $VERSION$;
h[0] = k ? 8 : 4;
t[0] = k ? $RATE_MHZ$ : 12500;
send(new Uint8Array(b, 0, 12));
Bangle.on("accel", take);
NRF.on("disconnect", function () {
vskdStop();
load();
});
})();
