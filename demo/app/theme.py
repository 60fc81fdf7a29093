"""Colours, fonts, and the page rules that Gradio's theme does not cover."""

import gradio as gr

SANS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

THEME = gr.themes.Default(
    primary_hue=gr.themes.colors.teal, neutral_hue=gr.themes.colors.slate, font=SANS, font_mono=MONO, radius_size="sm"
).set(
    # the stock greys miss AA contrast on their own backgrounds
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_300",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_300",
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover_dark="*primary_800",
    block_label_text_color="*neutral_700",
    block_label_text_color_dark="*neutral_200",
)

CSS = """
/* Gradio's overflow: hidden would disable the sticky frames */
.gradio-container { overflow: clip !important; }
.gradio-container main.fillable { max-width: 1360px !important; margin: 0 auto; }
#heading { align-items: baseline; gap: 0 1rem; }
#heading h1 { font-size: 1.25rem; margin: 0; }
#heading p { margin: 0; color: var(--body-text-color-subdued); }
#controls { gap: var(--layout-gap); }
#photo .image-container, #photo .image-frame { max-height: 240px; }
#class input { text-overflow: ellipsis; padding-right: 1.5rem; }
/* one page for visitors; that of programs needs no menu, and gr.Navbar(visible=False) leaves this one */
.nav-holder { display: none !important; }
footer :is(.show-api, .show-api-divider) { display: none !important; } /* About has the link */
.fetcher { position: absolute !important; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
button[role="tab"].selected { color: var(--primary-700) !important; }
.dark button[role="tab"].selected { color: var(--primary-300) !important; }
.pictures .grid-wrap { min-height: 0 !important; max-height: 60vh; padding-top: 38px !important; }
.pictures .grid-container {
  grid-template: none !important;
  grid-template-columns: repeat(auto-fill, minmax(104px, 1fr)) !important;
}
:is(#examples, #own-examples) .grid-container {
  grid-template-columns: repeat(auto-fill, minmax(72px, 1fr)) !important;
}
:is(#differing, #evaluate-best, #evaluate-worst) .grid-container {
  grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)) !important;
}
.pictures .caption-label {
  font-size: 11px !important;
  inset: auto 0 0 !important; max-width: none !important; border: 0 !important; border-radius: 0 !important;
  white-space: normal !important; opacity: 1 !important; line-height: 1.3; max-height: 4.6em; overflow-wrap: anywhere;
}
.forest { max-width: 420px; background: white; }
/* the label must not lie on the icon */
.upload > button { padding-top: 26px; }
.upload > button .wrap { min-height: 0; padding: 0; line-height: 1.35; }
/* there are images, or some on their way, when the preview says more than its first sentence */
:is(#train-stage, #evaluate-stage):not(:has(:is(#preview, #evaluate-preview) .report > .quiet:only-child)) .guide {
  display: none;
}
/* Korean: words are kept whole, in the system's own font */
:root:lang(ko) {
  --font: system-ui, -apple-system, "Apple SD Gothic Neo", "Noto Sans KR", "Noto Sans CJK KR", "Malgun Gothic",
    sans-serif;
}
.gradio-container:lang(ko) { word-break: keep-all; overflow-wrap: break-word; font-family: var(--font); }
@media (max-width: 760px) {
  .gradio-container main.fillable { padding: 12px !important; }
  .tab-wrapper button { padding: 0 6px !important; font-size: 13px !important; }
  /* photograph and menus in a strip above the maps, the other controls below them */
  #stage { order: -1; min-width: 100% !important; }
  #controls { display: contents; }
  #controls > * { flex: 1 1 100% !important; }
  #controls > #photo { order: -2; flex: 0 0 124px !important; min-width: 0 !important; height: 168px !important; }
  #controls > .form:has(#class) { order: -2; flex: 1 1 0 !important; min-width: 0 !important; flex-wrap: nowrap; }
  :is(#class, #method) { padding: 8px 10px !important; min-width: 0 !important; }
  #photo button .wrap { min-height: 0; font-size: 12px; line-height: 1.3; }
}
"""
