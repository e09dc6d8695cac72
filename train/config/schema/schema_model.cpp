#include "train/config/schema/key_makers.h"

namespace shoal {
namespace {

using namespace key_makers;

// The rotary frequencies of one kind of layer: rope_parameters.main or .compress.
template <class At>
Key rope_type(const std::string& path, At at) {
  Key key{.path = path,
          .form = Form::kChoice,
          .choices = {"default", "yarn"},
          .help = "yarn stretches the slow frequencies by `factor`"};
  key.read = [at, path](const Node& node, RunConfig& c, Problems& problems) {
    if (const auto value = read_choice(node, path, {"default", "yarn"}, problems)) {
      at(c).yarn = *value == 1;
    }
  };
  key.value = [at](const RunConfig& c) {
    return nlohmann::json(value_at(c, at).yarn ? "yarn" : "default");
  };
  return key;
}

template <class At>
std::vector<Key> rope_keys(const std::string& which, const std::string& alias, At at) {
  const std::string at_path = "model.rope_parameters." + which + ".";
  std::vector<Key> keys = {
      number(
          at_path + "rope_theta", [at](RunConfig & c) -> auto& { return at(c).theta; },
          {.low = 1, .high = kInfinity, .low_open = true}, "", "base of the rotary frequencies"),
      rope_type(at_path + "rope_type", at),
      number(
          at_path + "factor", [at](RunConfig & c) -> auto& { return at(c).factor; }, {.low = 1}, "",
          "yarn: how much longer contexts get"),
      integer(
          at_path + "original_max_position_embeddings",
          [at](RunConfig & c) -> auto& { return at(c).original_max_position_embeddings; }, kSize,
          "tokens", "yarn: the context length before stretching"),
      number(
          at_path + "beta_fast", [at](RunConfig & c) -> auto& { return at(c).beta_fast; },
          kPositive, "turns", "yarn: frequencies with more turns than this stay as they are"),
      number(
          at_path + "beta_slow", [at](RunConfig & c) -> auto& { return at(c).beta_slow; },
          kPositive, "turns", "yarn: frequencies with fewer turns than this are stretched in full"),
  };
  keys.front().alias = alias;
  return keys;
}

std::vector<Key> attention_keys() {
  std::vector<Key> keys = {
      integer("model.num_attention_heads", SHOAL_FIELD(model.num_attention_heads), kSize, "",
              "query heads; they share one key-value head"),
      integer("model.head_dim", SHOAL_FIELD(model.head_dim), kSize, "", "width of a head"),
      integer("model.qk_rope_head_dim", SHOAL_FIELD(model.qk_rope_head_dim), kSize, "",
              "its last dimensions, which rotate; even, at most head_dim"),
      integer("model.q_lora_rank", SHOAL_FIELD(model.q_lora_rank), kSize, "",
              "width of the query latent"),
      integer("model.o_groups", SHOAL_FIELD(model.o_groups), kSize, "",
              "groups of heads in the output projection; divides num_attention_heads"),
      integer("model.o_lora_rank", SHOAL_FIELD(model.o_lora_rank), kSize, "",
              "width of a group's output latent"),
      integer("model.sliding_window", SHOAL_FIELD(model.sliding_window), kSize, "tokens",
              "that a token sees of the past, itself included"),
  };
  const auto append = [&](std::vector<Key> more) {
    for (Key& key : more) keys.push_back(std::move(key));
  };
  append(rope_keys("main", "model.rope_theta", SHOAL_FIELD(model.rope_main)));
  std::vector<Key> compressed =
      rope_keys("compress", "model.compress_rope_theta", SHOAL_FIELD(model.rope_compress));
  compressed.push_back(integer("model.compress_rates.compressed_sparse_attention",
                               SHOAL_FIELD(model.compress_rate_csa), kSize, "tokens",
                               "one compressed entry stands for"));
  compressed.back().alias = "model.compress_rates.csa";
  compressed.push_back(integer("model.compress_rates.heavily_compressed_attention",
                               SHOAL_FIELD(model.compress_rate_hca), kSize, "tokens",
                               "one heavily compressed entry stands for"));
  compressed.back().alias = "model.compress_rates.hca";
  compressed.push_back(integer("model.index_n_heads", SHOAL_FIELD(model.index_n_heads), kSize, "",
                               "heads of the lightning indexer"));
  compressed.push_back(integer("model.index_head_dim", SHOAL_FIELD(model.index_head_dim), kSize, "",
                               "width of an indexer head"));
  compressed.push_back(integer("model.index_topk", SHOAL_FIELD(model.index_topk), kSize, "entries",
                               "that the indexer chooses for a query"));
  append(std::move(compressed));
  return keys;
}

}  // namespace

std::vector<Key> model_keys() {
  std::vector<Key> keys = {
      integer("model.vocab_size", SHOAL_FIELD(model.vocab_size),
              {.low = 2, .high = static_cast<double>(kMaxSize)}, "tokens",
              "the byte tokenizer has 258"),
      integer("model.hidden_size", SHOAL_FIELD(model.hidden_size), kSize, "",
              "width of a residual stream"),
      integer("model.num_hidden_layers", SHOAL_FIELD(model.num_hidden_layers),
              {.low = 0, .high = static_cast<double>(kMaxLayers)}, "",
              "0: the length of layer_types"),
      layers("model.layer_types", SHOAL_FIELD(model.layer_types),
             "attention of each layer: a window, compressed entries that an indexer chooses from "
             "(CSA), all heavily compressed entries (HCA), each beside the window, or everything; "
             "in a config.json's names or short ones, xN repeats a name or a group, such as "
             "[window x2, (csa, hca) x4]; by default window in num_hidden_layers layers"),
      layers("model.mlp_layer_types", SHOAL_FIELD(model.mlp_layer_types),
             "feed-forward of each layer: learned routing, a fixed hash of the token, or no "
             "experts; repeated likewise, such as [hash_moe x2, moe x8]; by default moe"),
      harmless(integer("model.max_position_embeddings", SHOAL_FIELD(model.max_position_embeddings),
                       kSize, "tokens", "longest sequence the model may be used with")),
      number("model.rms_norm_eps", SHOAL_FIELD(model.rms_norm_eps), kPositive, "",
             "added under the root of every RMS norm"),
      harmless(number("model.initializer_range", SHOAL_FIELD(model.initializer_range), kNotNegative,
                      "", "kept for export; model.init decides")),
  };
  for (Key& key : attention_keys()) keys.push_back(std::move(key));
  for (Key& key : std::vector<Key>{
           choice(
               "model.residual", SHOAL_FIELD(model.residual),
               "manifold-constrained hyper-connections, unconstrained ones, or one plain stream"),
           integer("model.hc_mult", SHOAL_FIELD(model.hc_mult),
                   {.low = 1, .high = static_cast<double>(kMaxStreams)}, "streams",
                   "residual streams; plain has 1"),
           integer("model.hc_sinkhorn_iters", SHOAL_FIELD(model.hc_sinkhorn_iters),
                   {.low = 1, .high = static_cast<double>(kMaxSinkhornIters)}, "",
                   "mhc: rounds that make the mixing matrix doubly stochastic"),
           number("model.hc_eps", SHOAL_FIELD(model.hc_eps), kNotNegative, "",
                  "floor inside the stream mixing"),
           integer("model.n_routed_experts", SHOAL_FIELD(model.n_routed_experts), kSize, "",
                   "experts of a layer to choose from"),
           integer("model.n_shared_experts", SHOAL_FIELD(model.n_shared_experts),
                   {.low = 0, .high = 1}, "", "experts that every token uses"),
           integer("model.num_experts_per_tok", SHOAL_FIELD(model.num_experts_per_tok), kSize, "",
                   "routed experts a token uses; at most n_routed_experts"),
           integer("model.moe_intermediate_size", SHOAL_FIELD(model.moe_intermediate_size), kSize,
                   "", "hidden width of an expert"),
           integer("model.intermediate_size", SHOAL_FIELD(model.intermediate_size), kSizeOrZero, "",
                   "hidden width of dense layers; 0: what a token's experts add up to"),
           choice("model.scoring_func", SHOAL_FIELD(model.scoring_func),
                  "turns router logits into scores"),
           boolean("model.norm_topk_prob", SHOAL_FIELD(model.norm_topk_prob),
                   "divide the chosen experts' scores by their sum"),
           number("model.routed_scaling_factor", SHOAL_FIELD(model.routed_scaling_factor),
                  kPositive, "", "multiplies the routed experts' sum"),
           number("model.swiglu_limit", SHOAL_FIELD(model.swiglu_limit), kNotNegative, "",
                  "clamp inside the experts' SwiGLU; 0: none"),
           integer("model.num_nextn_predict_layers", SHOAL_FIELD(model.num_nextn_predict_layers),
                   {.low = 0, .high = 1}, "",
                   "1: a further block learns to predict the token after next (MTP)"),
           integer("model.bos_token_id", SHOAL_FIELD(model.bos_token_id), kSizeOrZero, "",
                   "begins a document"),
           integer("model.eos_token_id", SHOAL_FIELD(model.eos_token_id), kSizeOrZero, "",
                   "ends a document"),
           choice("model.fp4.experts", SHOAL_FIELD(model.fp4.experts),
                  "routed experts' weights in FP4: never, in training and after it (gradients go "
                  "through to the float32 weights), or in evaluation and generation alone"),
           choice("model.fp4.indexer", SHOAL_FIELD(model.fp4.indexer),
                  "the indexers' queries and keys in FP4, after a Hadamard rotation; scores are "
                  "compared in bfloat16"),
           integer("model.fp4.from_step", SHOAL_FIELD(model.fp4.from_step), kSizeOrZero, "steps",
                   "qat: so many updates go before it"),
           choice("model.fp8.kv", SHOAL_FIELD(model.fp8_kv),
                  "off or qat: raw and compressed entries in FP8 without their rotary dimensions"),
           number("model.init.std", SHOAL_FIELD(model.init.std), kNotNegative, "",
                  "of matrices; 0: 0.5 / sqrt(hidden_size) below width 2048, else 0.006"),
           number("model.init.hc_std", SHOAL_FIELD(model.init.hc_std), kNotNegative, "",
                  "of the stream mixing's projections"),
           number("model.init.hc_scale", SHOAL_FIELD(model.init.hc_scale), kNotNegative, "",
                  "of the stream mixing's gates"),
           number("model.init.hc_res_diagonal", SHOAL_FIELD(model.init.hc_res_diagonal), kAny, "",
                  "diagonal of the mixing's bias: large keeps every stream to itself at first"),
       }) {
    keys.push_back(std::move(key));
  }
  return keys;
}

}  // namespace shoal
