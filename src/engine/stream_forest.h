#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/executor.h"

namespace mechsweep {

/// An edit as a stream meets it. resid_post of a layer is resid_pre of the next one.
struct StreamEdit {
  const Edit* edit = nullptr;
  int layer = 0;
  Site site = Site::z;
  int donor = -1;  ///< the stream that values are taken from, or -1
};

/// The rows of one token sequence under some edits. A stream owns only the rows that differ from
/// those it could share: positions below `prefix_length` are those of another sequence with the
/// same first tokens and the same edits there, positions that no edit has reached those of its
/// parent.
struct Stream {
  std::span<const int32_t> tokens;
  int parent = -1;  ///< the same tokens with the first of its edits only; -1 for a whole sequence
  int prefix = -1;  ///< the stream whose rows the first positions are, or -1
  int32_t prefix_length = 0;
  std::vector<StreamEdit> edits;  ///< beyond the parent's, in the order of computation

  /// freeze: `component` computes the edited sublayers from the base run's rows; this stream only
  /// adds up the residual stream.
  int component = -1;
  bool is_component = false;

  int32_t first = 0;    ///< the lowest position that the stream can own
  int32_t length = 0;   ///< positions that anything needs; 0: nothing needs the stream
  int last_layer = -1;  ///< the last layer that anything needs; L - 1 where logits are read
  std::vector<uint8_t> queried;  ///< [length] positions whose last layer is needed in full

  [[nodiscard]] bool is_root() const { return parent < 0; }
  [[nodiscard]] bool is_frozen() const { return component >= 0; }
  [[nodiscard]] int64_t own_positions() const { return length > first ? length - first : 0; }
};

/// An activation that a task keeps.
struct StreamCapture {
  int stream = -1;
  ActivationPoint point;
  int layer =
      0;  ///< where it is seen: resid_post at the beginning of the next layer, if there is one
  float* destination = nullptr;  ///< site_width floats
};

/// The streams that tasks need, every stream after those that it refers to. Whole sequences come
/// first, as a trie: each distinct token prefix is there once, whichever prompts and sides have it.
/// Then come the edited ones: interventions on one sequence form a trie of their edits, so that a
/// joint edit starts from the rows of its first part.
class StreamForest {
 public:
  /// `results` gets room for the activations that the tasks keep. With `observed` every task's
  /// attention is needed at all positions.
  StreamForest(std::span<const PromptTokens> prompts, std::span<const Task> tasks,
               const ModelConfig& config, bool observed, std::span<TaskResult> results);

  [[nodiscard]] std::span<const Stream> streams() const { return streams_; }
  [[nodiscard]] const Stream& operator[](int stream) const { return streams_[stream]; }
  [[nodiscard]] int roots() const { return roots_; }
  [[nodiscard]] int stream_of(size_t task) const { return task_streams_[task]; }
  /// The unedited stream of a prompt's side; it must be one that a task asked for.
  [[nodiscard]] int root_of(int32_t prompt, Side side) const;
  [[nodiscard]] const std::vector<StreamCapture>& captures() const { return captures_; }

  /// An upper bound of the rows that streams own together at any time.
  [[nodiscard]] int64_t rows() const;

 private:
  friend class ForestBuilder;
  int n_layers_ = 0;
  std::vector<Stream> streams_;
  int roots_ = 0;
  std::vector<int> task_streams_;
  std::vector<std::array<int, 2>> root_of_;  ///< by prompt and side, -1 where there is none
  std::vector<StreamCapture> captures_;
};

}  // namespace mechsweep
