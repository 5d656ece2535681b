// A picture with a sheet over it on which a mask is painted. What is painted is what is to be made anew.

const SIDE = 512; // pixels of the sheet's longer side, whatever the picture's size
const STEPS = 40; // how many strokes can be undone

export default {
  template: `
    <div class="easel" :style="{ aspectRatio: width + ' / ' + height }">
      <img :src="source" alt="" :class="{ photo: Math.max(width, height) >= 256 }" draggable="false">
      <canvas ref="sheet" tabindex="0" role="img" :aria-label="label"
        @pointerdown.prevent="begin" @pointermove="go" @pointerup="end" @pointercancel="end" @keydown.ctrl.z.prevent="undo"></canvas>
    </div>`,
  props: { source: String, label: String, width: Number, height: Number, brush: Number },
  mounted() {
    this.clean();
  },
  watch: {
    source() {
      this.clean();
    },
  },
  methods: {
    clean() {
      const sheet = this.$refs.sheet;
      const scale = SIDE / Math.max(this.width, this.height);
      sheet.width = Math.max(1, Math.round(this.width * scale));
      sheet.height = Math.max(1, Math.round(this.height * scale));
      this.context = sheet.getContext("2d", { willReadFrequently: true });
      this.before = [];
      this.last = null;
      this.tell();
    },
    place(event) {
      const box = this.$refs.sheet.getBoundingClientRect();
      const sheet = this.$refs.sheet;
      return [((event.clientX - box.left) / box.width) * sheet.width, ((event.clientY - box.top) / box.height) * sheet.height];
    },
    remember() {
      const sheet = this.$refs.sheet;
      this.before.push(this.context.getImageData(0, 0, sheet.width, sheet.height));
      this.before = this.before.slice(-STEPS);
    },
    begin(event) {
      this.$refs.sheet.setPointerCapture(event.pointerId);
      this.$refs.sheet.focus();
      this.remember();
      this.last = this.place(event);
      this.go(event);
    },
    go(event) {
      if (!this.last) return;
      const [x, y] = this.place(event);
      const ink = this.context;
      ink.strokeStyle = this.ink();
      ink.lineWidth = (SIDE * this.brush) / 100;
      ink.lineCap = "round";
      ink.beginPath();
      ink.moveTo(...this.last);
      ink.lineTo(x, y);
      ink.stroke();
      this.last = [x, y];
    },
    end() {
      if (this.last) this.tell();
      this.last = null;
    },
    ink() {
      return getComputedStyle(this.$el).getPropertyValue("--mask").trim();
    },
    box(share) {
      const sheet = this.$refs.sheet;
      this.remember();
      this.context.clearRect(0, 0, sheet.width, sheet.height);
      this.context.fillStyle = this.ink();
      const [wide, high] = [sheet.width * share, sheet.height * share];
      this.context.fillRect((sheet.width - wide) / 2, (sheet.height - high) / 2, wide, high);
      this.tell();
    },
    undo() {
      if (this.before.length) this.context.putImageData(this.before.pop(), 0, 0);
      this.tell();
    },
    clear() {
      this.remember();
      this.context.clearRect(0, 0, this.$refs.sheet.width, this.$refs.sheet.height);
      this.tell();
    },
    lay(mask) {
      const sheet = this.$refs.sheet;
      const picture = new Image();
      picture.onload = () => {
        this.remember();
        this.context.clearRect(0, 0, sheet.width, sheet.height);
        this.context.fillStyle = this.ink();
        this.context.fillRect(0, 0, sheet.width, sheet.height);
        this.context.globalCompositeOperation = "destination-out";
        this.context.drawImage(picture, 0, 0, sheet.width, sheet.height);
        this.context.globalCompositeOperation = "source-over";
        this.tell();
      };
      picture.src = mask;
    },
    painted() {
      const sheet = this.$refs.sheet;
      return this.context.getImageData(0, 0, sheet.width, sheet.height).data.some((value, place) => place % 4 === 3 && value > 127);
    },
    tell() {
      this.$emit("painted", this.painted());
    },
    mask() {
      if (!this.painted()) return "";
      const out = document.createElement("canvas");
      [out.width, out.height] = [this.width, this.height];
      const ink = out.getContext("2d");
      ink.fillRect(0, 0, out.width, out.height);
      ink.globalCompositeOperation = "destination-out";
      ink.drawImage(this.$refs.sheet, 0, 0, out.width, out.height);
      return out.toDataURL("image/png");
    },
  },
};
