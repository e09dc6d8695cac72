#include "train/report/page_style.h"

namespace shoal {

std::string page_style() {
  return R"(
:root{color-scheme:light dark;--page:#f7f6f3;--card:#fff;--text:#1d1f23;--muted:#666b74;--line:#e3e1dc;
--accent:#2463b5;--warn:#c92a2a}
@media(prefers-color-scheme:dark){:root{--page:#131519;--card:#1b1d22;--text:#e8e6e3;--muted:#9a9fa8;
--line:#2d3038;--accent:#6ea8fe;--warn:#ff6b6b}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);line-height:1.5;font-size:15px;
font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",Arial,sans-serif;
-webkit-text-size-adjust:100%}
main{max-width:1240px;margin:0 auto;padding:2.2rem 1.25rem 3rem}
h1{font-size:1.9rem;line-height:1.2;letter-spacing:-.02em;margin:0;overflow-wrap:anywhere}
h2{font-size:1.05rem;margin:2.4rem 0 .8rem;letter-spacing:-.005em}
h3{font-size:.92rem;margin:0;font-weight:600}
p{margin:.4rem 0}
.lead,.note,.none{color:var(--muted)}
.lead{margin:.3rem 0 1.4rem}.note{font-size:.85rem;max-width:70ch}
.none{font-size:.9rem;padding:1.5rem 0;text-align:center}
.alarm{border-left:3px solid var(--warn);background:var(--card);padding:.6rem .9rem;border-radius:0 6px 6px 0;
margin:0 0 1rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(142px,1fr));gap:1px;margin:0;
background:var(--line);border:1px solid var(--line);border-radius:8px;overflow:hidden}
.tiles div{background:var(--card);padding:.8rem .95rem}
dt{color:var(--muted);font-size:.8rem}
dd{margin:0;font-size:1.42rem;font-weight:600;letter-spacing:-.015em;font-variant-numeric:tabular-nums}
dd small{display:block;font-size:.76rem;font-weight:400;color:var(--muted);letter-spacing:0}
.facts{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.2rem 1.1rem;margin:1rem 0 0;
font-size:.85rem}
.facts dt{font-size:inherit}.facts dd{font-size:inherit;font-weight:400;letter-spacing:0;overflow-wrap:anywhere}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:14px}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.8rem .9rem .5rem;
min-width:0}
figcaption{display:flex;flex-wrap:wrap;justify-content:space-between;gap:.1rem 1rem;margin-bottom:.35rem}
figcaption p{margin:0;font-size:.8rem;color:var(--muted)}
figure svg{display:block;width:100%;height:auto;overflow:visible}
.legend{display:flex;flex-wrap:wrap;gap:.1rem .9rem;font-size:.82rem;color:var(--muted);align-self:center}
.legend b{color:var(--text);font-weight:600;font-variant-numeric:tabular-nums}
.key i{display:inline-block;width:1em;height:3px;border-radius:2px;vertical-align:.25em;margin-right:.4em}
.sample{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.9rem 1.1rem;margin:0 0 10px;
font-family:"Iowan Old Style",Palatino,Georgia,"Liberation Serif",serif;font-size:1.02rem;line-height:1.55;
white-space:pre-wrap;overflow-wrap:anywhere;max-width:80ch}
.sample b{color:var(--accent)}
details{margin:.6rem 0}summary{cursor:pointer;color:var(--accent);font-size:.92rem}
details h3{margin:1rem 0 .4rem;color:var(--muted);font-weight:500}
.scroll{overflow:auto;max-height:30rem;background:var(--card);border:1px solid var(--line);border-radius:8px}
table{border-collapse:collapse;width:100%;font-size:.88rem}
th,td{text-align:left;padding:.4rem .9rem;border-top:1px solid var(--line);vertical-align:top}
tr:first-child th{border-top:0;color:var(--muted);font-weight:500}
td:last-child{overflow-wrap:anywhere;min-width:14rem}
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
pre{margin:0;padding:.9rem 1.1rem;font:.82rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;
max-height:34rem;overflow:auto;background:var(--card);border:1px solid var(--line);border-radius:8px;tab-size:2}
pre b{font-weight:600}pre i{color:var(--muted);font-style:normal}
footer{margin-top:2.5rem;color:var(--muted);font-size:.8rem}
@media(max-width:620px){main{padding:1.3rem .8rem 2rem}h1{font-size:1.5rem}
.chart{font-size:18px!important}.tiles{grid-template-columns:repeat(2,1fr)}
.tiles div:last-child:nth-child(odd){grid-column:1/-1}figure{padding:.7rem .6rem .4rem}}
@media print{body{background:#fff}figure,.sample{break-inside:avoid}pre{max-height:none}}
)";
}

}  // namespace shoal
