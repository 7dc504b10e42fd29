"""The names of rules in Chinese, as the documents have them from which this library came."""

from __future__ import annotations

from collections.abc import Mapping

RULES: Mapping[str, str] = {
    "trace": "迹", "sum": "和", "product": "乘积", "transpose": "转置", "inverse": "逆",
    "determinant": "行列式", "logarithm of a determinant": "行列式的对数",
    "elementwise function": "逐元素函数", "Hadamard product": "逐元素乘积",
    "sum of elements": "元素之和", "softmax": "softmax", "a constant factor": "常数倍",
    "Kronecker product": "克罗内克积", "the variable itself": "变量本身",
    "scalar = trace: a = tr(a)": "标量套上迹: a = tr(a)",
    "products of sums multiplied out": "展开和的乘积",
    "compare with df = tr(G' dX)": "与 df = tr(G' dX) 对照",
    "compare with df = J dx": "与 df = J dx 对照",
    "compare with df = g dx": "与 df = g dx 对照",
    "the other layout: the transpose": "另一种布局: 取转置",
    "composite rule": "复合法则",
    "factors put in": "代入各因子",
    "one step of the scan": "循环的一步",
    "delta[t] stands for df/dh[t]": "用 delta[t] 记 df/dh[t]",
    "dh[t] put in df = tr(delta[t]' dh[t])": "将 dh[t] 代入 df = tr(delta[t]' dh[t])",
    "backpropagation through time: df = tr(delta[t]' dh[t])":
        "沿时间反向传播: df = tr(delta[t]' dh[t])",
    "occurs in every step: the sum over t": "出现在每一步: 对 t 求和",
    **{f"composite rule: d{name} put in": f"复合法则: 代入 d{name}" for name in "YZH"},
}  # fmt: skip
