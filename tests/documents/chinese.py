"""The names of rules in Chinese, as the documents have them from which this library came."""

from __future__ import annotations

import re
from collections.abc import Mapping

RULES: Mapping[str, str] = {
    "trace": "迹", "sum": "和", "product": "乘积", "transpose": "转置", "inverse": "逆",
    "determinant": "行列式", "logarithm of a determinant": "行列式的对数",
    "elementwise function": "逐元素函数", "Hadamard product": "逐元素乘积",
    "sum of elements": "元素之和", "softmax": "softmax", "a constant factor": "常数倍",
    "Kronecker product": "克罗内克积", "the variable itself": "变量本身",
    "scalar = trace: a = tr(a)": "标量套上迹: a = tr(a)",
    "products of sums multiplied out": "展开和的乘积", "distributive law": "分配律",
    "a'b = b'a, of vectors": "a'b = b'a (向量)",
    "sort: a permutation that stays": "排序: 不变的置换", "QR decomposition": "QR 分解",
    "eigenvectors": "特征向量", "eigenvalues": "特征值", "singular values": "奇异值",
    "layer_norm: centred, over the deviation": "层归一化: 去均值, 除以标准差",
    "a letter of its own": "另用一个字母", "norm": "范数",
    "composite rule": "复合法则", "factors put in": "代入各因子",
    "numerator layout: the transpose": "分子布局: 取转置",
    "denominator layout: the transpose": "分母布局: 取转置",
    "one step of the scan": "循环的一步",
    "occurs in every step: the sum over t": "出现在每一步: 对 t 求和",
}  # fmt: skip

# Names with formulas in them, which stay.
PATTERNS: Mapping[str, str] = {
    r"compare with (.+): the Jacobian, numerator layout": r"与 \1 对照: 雅可比矩阵, 分子布局",
    r"compare with (.+): the gradient, denominator layout": r"与 \1 对照: 梯度, 分母布局",
    r"compare with (.+)": r"与 \1 对照",
    r"composite rule: (.+) put in": r"复合法则: 代入 \1",
    r"(\S+(?:, \S+)*) put in (.+)": r"将 \1 代入 \2",
    r"(\S+) stands for (\S+)": r"用 \1 记 \2",
    r"backpropagation through time: (.+)": r"沿时间反向传播: \1",
}


def in_chinese(rule: str) -> str:
    """The name of a rule, or of several of differentials; one that is a formula stays."""
    if rule in RULES:
        return RULES[rule]
    head, _, rest = rule.partition("differential of ")
    if not head and rest:
        return "、".join(RULES.get(part, part) for part in rest.split(", ")) + "的微分"
    for pattern, template in PATTERNS.items():
        if re.fullmatch(pattern, rule):
            return re.sub(pattern, template, rule)
    return rule
