#include "engine/wavefront_pass.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "model/row_kernels.h"

namespace mechsweep {

// What edits do to the rows of a pass, site by site, and which rows streams get for them.

/// Values of donors that edits of attention take: rows as they are now, patterns by computing them.
class WavefrontPass::LayerDonors final : public DonorSource {
 public:
  LayerDonors(const WavefrontPass& pass, int donor) : pass_(pass), donor_(donor) {}

  [[nodiscard]] const float* row(const Edit&, Site site, int32_t position) const override {
    return pass_.site_row(site, pass_.rows_.row(donor_, position));
  }
  [[nodiscard]] const float* pattern(const Edit&, int head, int32_t query) const override {
    pattern_ = pass_.attention_->pattern(donor_, head, query, nullptr);
    return pattern_.data();
  }

 private:
  const WavefrontPass& pass_;
  int donor_;
  mutable std::vector<float> pattern_;
};

bool WavefrontPass::edits_any(Site first, Site last) const {
  const auto within = [&](Site site) { return site >= first && site <= last; };
  return std::any_of(edits_[layer_].begin(), edits_[layer_].end(),
                     [&](const LayerEdit& edit) { return within(edit.edit->site); });
}

bool WavefrontPass::writes_what_is_there(const LayerEdit& edit, int32_t position) const {
  return edit.edit->edit->operation == Operation::replace && edit.edit->donor >= 0 &&
         rows_.own(edit.stream, position) < 0 &&
         rows_.row(edit.edit->donor, position) == rows_.row(edit.stream, position);
}

EditPlace WavefrontPass::place_of(const LayerEdit& edit, int32_t position,
                                  const float* donor) const {
  const auto tokens = static_cast<int64_t>(forest_[edit.stream].tokens.size());
  return {.edit = edit.edit->edit, .donor = donor, .from_end = tokens - 1 - position};
}

/// An edit of a site that lies in the store; a stream that shares the row gets its own only when
/// the edit changes a bit.
void WavefrontPass::edit_direct(const LayerEdit& edit, int32_t position) {
  if (writes_what_is_there(edit, position)) return;
  const Site site = edit.edit->site;
  const float* donor =
      edit.edit->donor >= 0 ? site_row(site, rows_.row(edit.edit->donor, position)) : nullptr;
  const EditPlace place = place_of(edit, position, donor);
  const int32_t own = rows_.own(edit.stream, position);
  if (own >= 0) return apply_edit(model_, place, site_row(site, own));
  const float* shared = site_row(site, rows_.row(edit.stream, position));
  const int64_t width = site_width(site, model_.config());
  std::vector<float> changed(shared, shared + width);
  apply_edit(model_, place, changed.data());
  if (std::memcmp(changed.data(), shared, width * sizeof(float)) == 0) return;
  const Copy copy = site == Site::resid_pre ? Copy::resid : Copy::resid_and_z;
  const int32_t row = own_row(edit.stream, position, copy);
  std::copy(changed.begin(), changed.end(), site_row(site, row));
}

const float* WavefrontPass::donor_row(const LayerEdit& edit, int32_t position) {
  return edit.edit->donor >= 0 ? hold(edit.edit->site, rows_.row(edit.edit->donor, position))
                               : nullptr;
}

/// An edit of a site that exists only while panels are computed.
void WavefrontPass::edit_hooked(const LayerEdit& edit, int32_t position) {
  if (writes_what_is_there(edit, position)) return;
  // In a parallel residual a row goes through both sublayers, whichever is edited.
  const bool after_z = edit.edit->site <= Site::resid_mid || model_.config().parallel_residual;
  const int32_t row = own_row(edit.stream, position, after_z ? Copy::resid_and_z : Copy::resid);
  const float* donor = donor_row(edit, position);
  if (forest_[edit.stream].is_frozen()) return;  // add_to_frozen edits its rows
  hooks(edit.edit->site).edit(row, place_of(edit, position, donor));
}

/// Room for a site's values of a row, which are put there when its panel is computed.
float* WavefrontPass::hold(Site site, int32_t row) {
  auto [place, is_new] = held_.try_emplace({site, row}, site_width(site, model_.config()));
  if (is_new) hooks(site).capture(row, place->second.data());
  return place->second.data();
}

void WavefrontPass::capture(Site first, Site last) {
  for (const StreamCapture* capture : captures_[layer_]) {
    const Site site = capture->point.site;
    if (site < first || site > last || capture->point.layer < layer_) continue;
    const bool residual =
        site == Site::resid_pre || site == Site::resid_mid || site == Site::resid_post;
    const Stream& stream = forest_[capture->stream];
    if (residual && stream.is_frozen() && site > Site::z &&
        rows_.own(capture->stream, capture->point.position) >= 0)
      continue;  // add_to_frozen has the value
    const int of = stream.is_frozen() && !residual ? stream.component : capture->stream;
    const int32_t row = rows_.row(of, capture->point.position);
    if (site <= Site::z) {
      std::copy_n(site_row(site, row), site_width(site, model_.config()), capture->destination);
    } else {
      hooks(site).capture(row, capture->destination);
    }
  }
}

void WavefrontPass::edit_inputs() {
  // What stands for the layer below: its resid_post, edited and kept, before this layer's edits.
  const auto edit_from = [&](bool below) {
    each_edit(Site::resid_pre, Site::resid_pre, [&](const LayerEdit& edit, int32_t position) {
      if ((edit.edit->edit->site == Site::resid_post) == below) edit_direct(edit, position);
    });
  };
  edit_from(true);
  for (const StreamCapture* capture : captures_[layer_])
    if (capture->point.layer < layer_)
      std::copy_n(store_.resid(rows_.row(capture->stream, capture->point.position)),
                  store_.d_model(), capture->destination);
  edit_from(false);
  each_edit(Site::q, Site::v, [&](const LayerEdit& edit, int32_t position) {
    if (!writes_what_is_there(edit, position)) own_row(edit.stream, position, Copy::resid);
  });
  capture(Site::resid_pre, Site::resid_pre);
}

void WavefrontPass::edit_projections() {
  each_edit(Site::q, Site::v, [&](const LayerEdit& edit, int32_t position) {
    const int32_t row = rows_.own(edit.stream, position);
    if (row < 0) return;  // it would write what is there
    const Site site = edit.edit->site;
    const float* donor =
        edit.edit->donor >= 0 ? site_row(site, rows_.row(edit.edit->donor, position)) : nullptr;
    apply_edit(model_, place_of(edit, position, donor), site_row(site, row));
  });
  capture(Site::q, Site::v);
}

/// Rows for queries whose attention is edited, and what is edited with vectors, which are taken
/// before rotation.
void WavefrontPass::edit_attention() {
  for (const LayerEdit& edit : edits_[layer_]) {
    if (!edits_attention(*edit.edit->edit) || !alive(edit.stream)) continue;
    const Stream& stream = forest_[edit.stream];
    const LayerDonors donors(*this, edit.edit->donor);
    const auto tokens = static_cast<int32_t>(stream.tokens.size());
    for (const int32_t query : queries_of(*edit.edit->edit)) {
      if (query < stream.first || !wanted(edit.stream, query)) continue;
      const int32_t row = own_row(edit.stream, query, Copy::resid_and_qkv);
      if (edit.edit->site == Site::pattern) continue;
      for (const int32_t head : edit.edit->edit->heads)
        change_attention(model_, *edit.edit->edit, donors, {query, tokens}, head,
                         changes_.at(row, head));
    }
  }
}

/// Pattern edits: what they take from donors can be computed once the keys are laid out.
void WavefrontPass::edit_patterns() {
  each_edit(Site::pattern, Site::pattern, [&](const LayerEdit& edit, int32_t query) {
    if (!wanted(edit.stream, query)) return;
    const LayerDonors donors(*this, edit.edit->donor);
    const int32_t row = rows_.own(edit.stream, query);
    for (const int32_t head : edit.edit->edit->heads)
      change_attention(model_, *edit.edit->edit, donors, store_.place(row), head,
                       changes_.at(row, head));
  });
}

void WavefrontPass::edit_z() {
  each_edit(Site::z, Site::z, [&](const LayerEdit& edit, int32_t position) {
    if (wanted(edit.stream, position)) edit_direct(edit, position);
  });
  open_rows(Site::attn_out, Site::attn_out, Site::resid_mid);
  capture(Site::z, Site::resid_mid);
}

void WavefrontPass::open_mlp_rows() {
  open_rows(Site::mlp_in, Site::mlp_out, Site::resid_post);
  if (model_.config().parallel_residual) hold_for_frozen(Site::attn_out);
  capture(Site::mlp_in, Site::resid_post);
}

/// Rows and hooks for edits inside a sublayer (sites first..added) and of the residual stream after
/// it, `added` being what the sublayer adds.
void WavefrontPass::open_rows(Site first, Site added, Site after) {
  const auto open = [&](const LayerEdit& edit, int32_t position) {
    if (wanted(edit.stream, position)) edit_hooked(edit, position);
  };
  each_edit(first, added, open);
  each_frozen([&](int stream) { follow_component(stream); });
  each_edit(after, after, open);
  hold_for_frozen(added);
}

/// Keeps what a sublayer will give to the rows of frozen streams' components.
void WavefrontPass::hold_for_frozen(Site added) {
  each_frozen([&](int stream) {
    rows_.each_own(stream, [&](int32_t position, int32_t) {
      if (wanted(stream, position))
        (void)hold(added, rows_.row(forest_[stream].component, position));
    });
  });
}

/// Before a sublayer runs: a frozen stream gets a row wherever its component has one, with the base
/// run's residual stream.
void WavefrontPass::follow_component(int stream) {
  rows_.each_own(forest_[stream].component, [&](int32_t position, int32_t) {
    if (wanted(stream, position)) (void)own_row(stream, position, Copy::resid);
  });
}

/// After a sublayer: adds what it gives to the residual stream of frozen streams.
void WavefrontPass::add_to_frozen(Site added) {
  each_frozen([&](int stream) {
    rows_.each_own(stream, [&](int32_t position, int32_t row) {
      if (!wanted(stream, position)) return;
      const auto& values = held_.at({added, rows_.row(forest_[stream].component, position)});
      add_row(values.data(), store_.d_model(), store_.resid(row));
    });
  });
}

/// Edits of the residual stream after a sublayer, and copies of it, in frozen streams' own rows.
void WavefrontPass::edit_frozen(Site site) {
  each_edit(site, site, [&](const LayerEdit& edit, int32_t position) {
    const int32_t row = rows_.own(edit.stream, position);
    if (!forest_[edit.stream].is_frozen() || !wanted(edit.stream, position) || row < 0) return;
    const float* donor = nullptr;
    if (edit.edit->donor >= 0) {
      const auto held = held_.find({site, rows_.row(edit.edit->donor, position)});
      if (held == held_.end()) return;  // it would have written what was there
      donor = held->second.data();
    }
    apply_edit(model_, place_of(edit, position, donor), store_.resid(row));
  });
  for (const StreamCapture* capture : captures_[layer_]) {
    const int32_t row = rows_.own(capture->stream, capture->point.position);
    if (capture->point.site == site && capture->point.layer == layer_ &&
        forest_[capture->stream].is_frozen() && row >= 0)
      std::copy_n(store_.resid(row), store_.d_model(), capture->destination);
  }
}

void WavefrontPass::drop_components() {
  for (int s = forest_.roots(); s < static_cast<int>(forest_.streams().size()); ++s)
    if (forest_[s].is_component) {
      rows_.drop(s);
      complete_from_[s] = forest_[s].length;
    }
}

}  // namespace mechsweep
